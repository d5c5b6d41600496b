# Written from chatrwkv's argument parsers; do not edit.
_chatrwkv() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} at=chatrwkv words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${COMP_WORDS[i]}" in
            "chatrwkv run" | "chatrwkv chats" | "chatrwkv chats list" | "chatrwkv chats show" | "chatrwkv chats export" | "chatrwkv chats import" | "chatrwkv chats rename" | "chatrwkv chats replay" | "chatrwkv chats delete" | "chatrwkv chats restore" | "chatrwkv chats search" | "chatrwkv chats purge" | "chatrwkv chats backup" | "chatrwkv states" | "chatrwkv states list" | "chatrwkv states info" | "chatrwkv states verify" | "chatrwkv states diff" | "chatrwkv states learn" | "chatrwkv states import" | "chatrwkv states export" | "chatrwkv models" | "chatrwkv models list" | "chatrwkv models info" | "chatrwkv generations" | "chatrwkv prompts" | "chatrwkv prompts list" | "chatrwkv prompts show" | "chatrwkv prompts check" | "chatrwkv eval" | "chatrwkv embed" | "chatrwkv bench" | "chatrwkv tune" | "chatrwkv museum" | "chatrwkv config" | "chatrwkv config show" | "chatrwkv config check" | "chatrwkv config path" | "chatrwkv paths" | "chatrwkv doctor" | "chatrwkv completion") at="$at ${COMP_WORDS[i]}" ;;
        esac
    done
    COMPREPLY=()
    case "$at $prev" in
        "chatrwkv --dtype") COMPREPLY=($(compgen -W "auto fp32 bf16 fp16 int8 int4" -- "$cur")); return ;;
        "chatrwkv run --dtype") COMPREPLY=($(compgen -W "auto fp32 bf16 fp16 int8 int4" -- "$cur")); return ;;
        "chatrwkv chats export -f" | "chatrwkv chats export --format") COMPREPLY=($(compgen -W "md json txt" -- "$cur")); return ;;
        "chatrwkv states export --as") COMPREPLY=($(compgen -W "package pth web-rwkv rwkv.cpp albatross chatrwkv-v1" -- "$cur")); return ;;
        "chatrwkv models info --dtype") COMPREPLY=($(compgen -W "auto fp32 bf16 fp16 int8 int4" -- "$cur")); return ;;
        "chatrwkv eval --against") COMPREPLY=($(compgen -W "fp32 bf16 fp16 int8 int4" -- "$cur")); return ;;
        "chatrwkv eval --dtype") COMPREPLY=($(compgen -W "auto fp32 bf16 fp16 int8 int4" -- "$cur")); return ;;
        "chatrwkv embed --from") COMPREPLY=($(compgen -W "hidden state" -- "$cur")); return ;;
        "chatrwkv embed --kind") COMPREPLY=($(compgen -W "att-shift ffn-shift aa bb wkv" -- "$cur")); return ;;
        "chatrwkv embed --dtype") COMPREPLY=($(compgen -W "auto fp32 bf16 fp16 int8 int4" -- "$cur")); return ;;
        "chatrwkv bench --shape") COMPREPLY=($(compgen -W "0.1b 0.4b 1.5b" -- "$cur")); return ;;
        "chatrwkv bench --dtype") COMPREPLY=($(compgen -W "auto fp32 bf16 fp16 int8 int4" -- "$cur")); return ;;
        "chatrwkv tune --dtype") COMPREPLY=($(compgen -W "auto fp32 bf16 fp16 int8 int4" -- "$cur")); return ;;
        "chatrwkv -m" | "chatrwkv --model" | "chatrwkv --chat" | "chatrwkv --state" | "chatrwkv --prompt" | "chatrwkv --device" | "chatrwkv --gpu-layers" | "chatrwkv --strategy" | "chatrwkv --config" | "chatrwkv run -m" | "chatrwkv run --model" | "chatrwkv run -s" | "chatrwkv run --system" | "chatrwkv run -t" | "chatrwkv run --template" | "chatrwkv run --think" | "chatrwkv run -n" | "chatrwkv run --replies" | "chatrwkv run --max-tokens" | "chatrwkv run --seed" | "chatrwkv run --temp" | "chatrwkv run --top-p" | "chatrwkv run --top-p-x" | "chatrwkv run --top-k" | "chatrwkv run --top-a" | "chatrwkv run --min-p" | "chatrwkv run --typical" | "chatrwkv run --mirostat" | "chatrwkv run --mirostat-rate" | "chatrwkv run --cfg" | "chatrwkv run --negative" | "chatrwkv run --presence" | "chatrwkv run --frequency" | "chatrwkv run --decay" | "chatrwkv run --load-state" | "chatrwkv run --save-state" | "chatrwkv run --device" | "chatrwkv run --gpu-layers" | "chatrwkv run --strategy" | "chatrwkv run --config" | "chatrwkv chats export -o" | "chatrwkv chats export --output" | "chatrwkv chats replay -m" | "chatrwkv chats replay --model" | "chatrwkv chats replay --config" | "chatrwkv chats search --limit" | "chatrwkv chats backup --restore" | "chatrwkv states list --config" | "chatrwkv states verify -m" | "chatrwkv states verify --model" | "chatrwkv states verify --config" | "chatrwkv states learn --as" | "chatrwkv states learn -m" | "chatrwkv states learn --model" | "chatrwkv states learn -t" | "chatrwkv states learn --template" | "chatrwkv states learn --config" | "chatrwkv states import -m" | "chatrwkv states import --model" | "chatrwkv states import -o" | "chatrwkv states import --output" | "chatrwkv states import --row" | "chatrwkv states import --config" | "chatrwkv states export -o" | "chatrwkv states export --output" | "chatrwkv states export -m" | "chatrwkv states export --model" | "chatrwkv states export --config" | "chatrwkv models list --config" | "chatrwkv models info --device" | "chatrwkv models info --gpu-layers" | "chatrwkv models info --strategy" | "chatrwkv models info --config" | "chatrwkv eval -m" | "chatrwkv eval --model" | "chatrwkv eval --device" | "chatrwkv eval --gpu-layers" | "chatrwkv eval --strategy" | "chatrwkv eval --config" | "chatrwkv embed -m" | "chatrwkv embed --model" | "chatrwkv embed --stats" | "chatrwkv embed --fit-stats" | "chatrwkv embed --out" | "chatrwkv embed --device" | "chatrwkv embed --gpu-layers" | "chatrwkv embed --strategy" | "chatrwkv embed --config" | "chatrwkv bench -m" | "chatrwkv bench --model" | "chatrwkv bench --threads" | "chatrwkv bench --rounds" | "chatrwkv bench --device" | "chatrwkv bench --gpu-layers" | "chatrwkv bench --strategy" | "chatrwkv bench --config" | "chatrwkv tune -o" | "chatrwkv tune --output" | "chatrwkv tune -m" | "chatrwkv tune --model" | "chatrwkv tune -p" | "chatrwkv tune --prompt" | "chatrwkv tune --held-out" | "chatrwkv tune --repeats" | "chatrwkv tune --lr" | "chatrwkv tune --lr-final" | "chatrwkv tune --seed" | "chatrwkv tune --device" | "chatrwkv tune --gpu-layers" | "chatrwkv tune --strategy" | "chatrwkv tune --config" | "chatrwkv config show --config" | "chatrwkv config check --config" | "chatrwkv doctor --config") return ;;
    esac
    case "$at" in
        "chatrwkv") words="run chats states models generations prompts eval embed bench tune museum config paths doctor completion -h --help -m --model -c --continue --chat --state --prompt --device --dtype --gpu-layers --strategy --config --offline --version" ;;
        "chatrwkv run") words="-h --help -m --model -s --system -t --template --think -n --replies --max-tokens --seed --temp --temp-first --top-p --top-p-x --top-k --top-a --min-p --typical --mirostat --mirostat-rate --cfg --negative --newline-rule --anti-repeat --presence --frequency --decay --load-state --save-state --json --no-stream --safe --raw --device --dtype --gpu-layers --strategy --config" ;;
        "chatrwkv chats") words="list show export import rename replay delete restore search purge backup -h --help" ;;
        "chatrwkv chats list") words="-h --help --deleted --json" ;;
        "chatrwkv chats show") words="-h --help --json" ;;
        "chatrwkv chats export") words="-h --help -f --format -o --output --force" ;;
        "chatrwkv chats import") words="-h --help" ;;
        "chatrwkv chats rename") words="-h --help" ;;
        "chatrwkv chats replay") words="-h --help -m --model --config --json" ;;
        "chatrwkv chats delete") words="-h --help" ;;
        "chatrwkv chats restore") words="-h --help" ;;
        "chatrwkv chats search") words="-h --help --limit --json" ;;
        "chatrwkv chats purge") words="-h --help --yes" ;;
        "chatrwkv chats backup") words="-h --help --restore" ;;
        "chatrwkv states") words="list info verify diff learn import export -h --help" ;;
        "chatrwkv states list") words="-h --help --json --config" ;;
        "chatrwkv states info") words="-h --help --json" ;;
        "chatrwkv states verify") words="-h --help --reread -m --model --config" ;;
        "chatrwkv states diff") words="-h --help --json" ;;
        "chatrwkv states learn") words="-h --help --as --twice -m --model -t --template --config" ;;
        "chatrwkv states import") words="-h --help -m --model -o --output --row --force --config" ;;
        "chatrwkv states export") words="-h --help --as -o --output -m --model --force --config" ;;
        "chatrwkv models") words="list info -h --help" ;;
        "chatrwkv models list") words="-h --help --json --config" ;;
        "chatrwkv models info") words="-h --help --device --dtype --gpu-layers --strategy --json --config" ;;
        "chatrwkv generations") words="-h --help --json" ;;
        "chatrwkv prompts") words="list show check -h --help" ;;
        "chatrwkv prompts list") words="-h --help --json" ;;
        "chatrwkv prompts show") words="-h --help --json" ;;
        "chatrwkv prompts check") words="-h --help" ;;
        "chatrwkv eval") words="-h --help -m --model --against --device --dtype --gpu-layers --strategy --json --config" ;;
        "chatrwkv embed") words="-h --help -m --model --from --kind --stats --raw --fit-stats --out --json --device --dtype --gpu-layers --strategy --config" ;;
        "chatrwkv bench") words="-h --help -m --model --shape --threads --rounds --device --dtype --gpu-layers --strategy --json --config" ;;
        "chatrwkv tune") words="-h --help -o --output -m --model -p --prompt --held-out --repeats --lr --lr-final --seed --device --dtype --gpu-layers --strategy --json --config" ;;
        "chatrwkv museum") words="-h --help --json" ;;
        "chatrwkv config") words="show check path -h --help" ;;
        "chatrwkv config show") words="-h --help --json --config" ;;
        "chatrwkv config check") words="-h --help --config" ;;
        "chatrwkv config path") words="-h --help" ;;
        "chatrwkv paths") words="-h --help --json" ;;
        "chatrwkv doctor") words="-h --help --json --config" ;;
        "chatrwkv completion") words="-h --help bash zsh fish" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o bashdefault -o default -F _chatrwkv chatrwkv
