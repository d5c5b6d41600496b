#compdef chatrwkv
# Written from chatrwkv's argument parsers; do not edit.

_chatrwkv() {
    local line state
    _arguments -s -C '(-h --help)'{-h,--help}'[show this help message and exit]' '(-m --model)'{-m,--model}'[name or path of the model]:model:_files' '(-c --continue)'{-c,--continue}'[go on with the last chat]' '--chat[open this chat (chatrwkv chats list shows the ids)]:id:' '--state[start a chat from a saved state, or from one of another program]:file:_files' '--prompt[prompt template (chatrwkv prompts list)]:name:' '--device[auto, cpu, cuda, cuda,N or mps]:device:' '--dtype[precision of the weights]:auto|fp32|bf16|fp16|int8|int4:(auto fp32 bf16 fp16 int8 int4)' '--gpu-layers[this many layers on the GPU, the rest on the CPU]:n:' '--strategy[which layers go where, such as "cuda fp16 *10 -> cpu fp32"]:text:' '--config[read this settings file instead of your own]:file:_files' '--offline[never use the network]' '--version[show versions and leave]' '1: :->command' '*::argument:->rest'
    case $state in
        command)
            local -a commands=(
                'run:answer once, prompt in, reply out, made for pipes'
                'chats:list, show, search, export, import, rename, delete, restore, purge and back up chats'
                'states:list and check saved states'
                'models:list models and say what they are'
                'generations:list the RWKV generations and what tells them apart'
                'prompts:list, show and check prompt templates'
                'eval:measure how well a model predicts a text, last words or multiple choice'
                'embed:make a vector of each line of a text'
                'bench:measure how fast a model runs here, against what the machine could do'
                'tune:train a persona from a few examples, a state, not the weights'
                'museum:ask a tiny model of every RWKV generation the same, side by side'
                'config:show the settings and where each comes from'
                'paths:say where files live'
                'doctor:check that this installation works'
                'completion:print a completion script for a shell'
            )
            _describe command commands ;;
        rest) case $line[1] in
                run) _chatrwkv_run ;;
                chats) _chatrwkv_chats ;;
                states) _chatrwkv_states ;;
                models) _chatrwkv_models ;;
                generations) _chatrwkv_generations ;;
                prompts) _chatrwkv_prompts ;;
                eval) _chatrwkv_eval ;;
                embed) _chatrwkv_embed ;;
                bench) _chatrwkv_bench ;;
                tune) _chatrwkv_tune ;;
                museum) _chatrwkv_museum ;;
                config) _chatrwkv_config ;;
                paths) _chatrwkv_paths ;;
                doctor) _chatrwkv_doctor ;;
                completion) _chatrwkv_completion ;;
            esac ;;
    esac
}

_chatrwkv_run() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '(-m --model)'{-m,--model}'[name or path of the model]:model:_files' '(-s --system)'{-s,--system}'[system text, or the tools of a function call]:text:' '(-t --template)'{-t,--template}'[prompt template, by name or .toml file]:name:' '--think[thinking mode (chatrwkv prompts show NAME lists them)]:mode:' '(-n --replies)'{-n,--replies}'[this many replies, made together]:n:' '--max-tokens[stop after this many tokens]:n:' '--seed[make the reply repeatable; reply i of -n uses seed + i]:n:' '--temp[0 is greedy]:x:' '--temp-first[temperature before the cut, not after]' '--top-p[keep the likeliest tokens of this mass; 1 is off]:x:' '--top-p-x[--top-p never drops a token as likely as this; 1 is off]:x:' '--top-k[keep this many tokens; 0 is off]:n:' '--top-a[drop p < A * p_max ** 2; 0 is off]:x:' '--min-p[drop p < P * p_max; 0 is off]:x:' '--typical[locally typical sampling, mass to keep; 1 is off]:x:' '--mirostat[bits of surprise to aim at, in place of all cuts; 0 is off]:x:' '--mirostat-rate[how fast --mirostat corrects itself]:x:' '--cfg[guidance, away from what --negative makes likely; 1 is off]:x:' '--negative[negative prompt of --cfg, read in place of the conversation]:text:' '--newline-rule[line ends late, as in ChatRWKV'\''s chat.py]' '--anti-repeat[the same of ，：？！ never twice in a row, as in chat.py]' '--presence[penalty of tokens that occurred]:x:' '--frequency[penalty for each time they did]:x:' '--decay[factor on the counts of --frequency per token]:x:' '--load-state[go on from a saved state, or from one of another program]:file:_files' '--save-state[save the state after the reply; replaces the file]:file:_files' '--json[print one JSON object a reply]' '--no-stream[print the reply when it is complete]' '--safe[remove escape sequences in a pipe, too]' '--raw[keep escape sequences on a terminal, too]' '--device[auto, cpu, cuda, cuda,N or mps]:device:' '--dtype[precision of the weights]:auto|fp32|bf16|fp16|int8|int4:(auto fp32 bf16 fp16 int8 int4)' '--gpu-layers[this many layers on the GPU, the rest on the CPU]:n:' '--strategy[which layers go where, such as "cuda fp16 *10 -> cpu fp32"]:text:' '--config[read this settings file instead of your own]:file:_files' '*:prompt:'
}

_chatrwkv_chats() {
    local line state
    _arguments -s -C '(-h --help)'{-h,--help}'[show this help message and exit]' '1: :->command' '*::argument:->rest'
    case $state in
        command)
            local -a commands=(
                'list:list chats, the last used first'
                'show:print the messages that the chat shows'
                'export:write a chat to a file'
                'import:add the chats of a file, whichever program wrote it'
                'rename:give a chat another title'
                'replay:draw its replies again and print the first difference; exit 1'
                'delete:hide a chat; chats restore brings it back'
                'restore:bring a deleted chat back'
                'search:list messages in which all words occur'
                'purge:erase for good what was deleted'
                'backup:copy all chats to the backups now'
            )
            _describe command commands ;;
        rest) case $line[1] in
                list) _chatrwkv_chats_list ;;
                show) _chatrwkv_chats_show ;;
                export) _chatrwkv_chats_export ;;
                import) _chatrwkv_chats_import ;;
                rename) _chatrwkv_chats_rename ;;
                replay) _chatrwkv_chats_replay ;;
                delete) _chatrwkv_chats_delete ;;
                restore) _chatrwkv_chats_restore ;;
                search) _chatrwkv_chats_search ;;
                purge) _chatrwkv_chats_purge ;;
                backup) _chatrwkv_chats_backup ;;
            esac ;;
    esac
}

_chatrwkv_chats_list() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--deleted[list deleted chats instead]' '--json[print JSON]'
}

_chatrwkv_chats_show() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print the whole tree as JSON]' '*:id:'
}

_chatrwkv_chats_export() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '(-f --format)'{-f,--format}'[default, by the file'\''s name, else md]:md|json|txt:(md json txt)' '(-o --output)'{-o,--output}'[file to write; stdout if absent]:file:_files' '--force[replace the file]' '*:id:'
}

_chatrwkv_chats_import() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '*:file:_files'
}

_chatrwkv_chats_rename() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '*:id:' '*:title:'
}

_chatrwkv_chats_replay() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '(-m --model)'{-m,--model}'[the model that drew them]:model:_files' '--config[read this settings file instead of your own]:file:_files' '--json[print JSON]' '*:id:'
}

_chatrwkv_chats_delete() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '*:id:'
}

_chatrwkv_chats_restore() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '*:id:'
}

_chatrwkv_chats_search() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--limit[how many at most, the newest first (default, 50)]:n:' '--json[print JSON]' '*:word:'
}

_chatrwkv_chats_purge() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--yes[do not ask]' '*:id:'
}

_chatrwkv_chats_backup() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--restore[bring the chats of a backup back instead, beside those that are there]:file:_files'
}

_chatrwkv_states() {
    local line state
    _arguments -s -C '(-h --help)'{-h,--help}'[show this help message and exit]' '1: :->command' '*::argument:->rest'
    case $state in
        command)
            local -a commands=(
                'list:list the states in a folder'
                'info:print what the header says'
                'verify:read every byte and check it; exit 4 if one is wrong'
                'diff:compare two states, head by head'
                'learn:read a text file into a saved state'
                'import:make a .rwkvstate of another program'\''s state'
                'export:write a state for another program'
            )
            _describe command commands ;;
        rest) case $line[1] in
                list) _chatrwkv_states_list ;;
                info) _chatrwkv_states_info ;;
                verify) _chatrwkv_states_verify ;;
                diff) _chatrwkv_states_diff ;;
                learn) _chatrwkv_states_learn ;;
                import) _chatrwkv_states_import ;;
                export) _chatrwkv_states_export ;;
            esac ;;
    esac
}

_chatrwkv_states_list() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]' '--config[read this settings file instead of your own]:file:_files' '*:folder:_files'
}

_chatrwkv_states_info() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]' '*:file:_files'
}

_chatrwkv_states_verify() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--reread[read their text with the model again and compare, too]' '(-m --model)'{-m,--model}'[the model they are of, for --reread]:model:_files' '--config[read this settings file instead of your own]:file:_files' '*:file:_files'
}

_chatrwkv_states_diff() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]' '*:a:' '*:b:'
}

_chatrwkv_states_learn() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--as[default, the file'\''s name]:name:' '--twice[feed it twice]' '(-m --model)'{-m,--model}'[name or path of the model that reads]:model:_files' '(-t --template)'{-t,--template}'[of the chats about it]:name:' '--config[read this settings file instead of your own]:file:_files' '*:file:_files'
}

_chatrwkv_states_import() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '(-m --model)'{-m,--model}'[name or path of the model it is for]:model:_files' '(-o --output)'{-o,--output}'[default, a saved state of the same name]:file:_files' '--row[of a batch, from 0 on]:n:' '--force[replace the file]' '--config[read this settings file instead of your own]:file:_files' '*:file:_files'
}

_chatrwkv_states_export() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--as[see below]:package|pth|web-rwkv|rwkv.cpp|albatross|chatrwkv-v1:(package pth web-rwkv rwkv.cpp albatross chatrwkv-v1)' '(-o --output)'{-o,--output}'[where to]:file:_files' '(-m --model)'{-m,--model}'[whose state it is; states of old versions do not say]:model:_files' '--force[replace the file]' '--config[read this settings file instead of your own]:file:_files' '*:file:_files'
}

_chatrwkv_models() {
    local line state
    _arguments -s -C '(-h --help)'{-h,--help}'[show this help message and exit]' '1: :->command' '*::argument:->rest'
    case $state in
        command)
            local -a commands=(
                'list:list built-in models and those in the folders'
                'info:open a model and print what it is'
            )
            _describe command commands ;;
        rest) case $line[1] in
                list) _chatrwkv_models_list ;;
                info) _chatrwkv_models_info ;;
            esac ;;
    esac
}

_chatrwkv_models_list() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]' '--config[read this settings file instead of your own]:file:_files'
}

_chatrwkv_models_info() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--device[auto, cpu, cuda, cuda,N or mps]:device:' '--dtype[precision of the weights]:auto|fp32|bf16|fp16|int8|int4:(auto fp32 bf16 fp16 int8 int4)' '--gpu-layers[this many layers on the GPU, the rest on the CPU]:n:' '--strategy[which layers go where, such as "cuda fp16 *10 -> cpu fp32"]:text:' '--json[print JSON]' '--config[read this settings file instead of your own]:file:_files' '*:model:_files'
}

_chatrwkv_generations() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]'
}

_chatrwkv_prompts() {
    local line state
    _arguments -s -C '(-h --help)'{-h,--help}'[show this help message and exit]' '1: :->command' '*::argument:->rest'
    case $state in
        command)
            local -a commands=(
                'list:list all templates'
                'show:print what one feeds to the model'
                'check:exit 2 and say why if a file is no template'
            )
            _describe command commands ;;
        rest) case $line[1] in
                list) _chatrwkv_prompts_list ;;
                show) _chatrwkv_prompts_show ;;
                check) _chatrwkv_prompts_check ;;
            esac ;;
    esac
}

_chatrwkv_prompts_list() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]'
}

_chatrwkv_prompts_show() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]' '*:name:'
}

_chatrwkv_prompts_check() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '*:file:_files'
}

_chatrwkv_eval() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '(-m --model)'{-m,--model}'[name or path of the model]:model:_files' '--against[compare with the same model in this precision, KL and top-1]:fp32|bf16|fp16|int8|int4:(fp32 bf16 fp16 int8 int4)' '--device[auto, cpu, cuda, cuda,N or mps]:device:' '--dtype[precision of the weights]:auto|fp32|bf16|fp16|int8|int4:(auto fp32 bf16 fp16 int8 int4)' '--gpu-layers[this many layers on the GPU, the rest on the CPU]:n:' '--strategy[which layers go where, such as "cuda fp16 *10 -> cpu fp32"]:text:' '--json[print one JSON object]' '--config[read this settings file instead of your own]:file:_files' '*:file:_files'
}

_chatrwkv_embed() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '(-m --model)'{-m,--model}'[name or path of the model]:model:_files' '--from[the mean of what the head reads, or what the state is after the last token]:hidden|state:(hidden state)' '--kind[which part of the state (default, wkv, what the layers read out of their memory)]:att-shift|ffn-shift|aa|bb|wkv:(att-shift ffn-shift aa bb wkv)' '--stats[normalise with these]:file:_files' '--raw[do not normalise]' '--fit-stats[write statistics of the lines, no vectors]:file:_files' '--out[write a NumPy file, (lines, channels) float32]:file:_files' '--json[print one JSON object a line]' '--device[auto, cpu, cuda, cuda,N or mps]:device:' '--dtype[precision of the weights]:auto|fp32|bf16|fp16|int8|int4:(auto fp32 bf16 fp16 int8 int4)' '--gpu-layers[this many layers on the GPU, the rest on the CPU]:n:' '--strategy[which layers go where, such as "cuda fp16 *10 -> cpu fp32"]:text:' '--config[read this settings file instead of your own]:file:_files' '*:file:_files'
}

_chatrwkv_bench() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '(-m --model)'{-m,--model}'[name or path of the model]:model:_files' '--shape[a random RWKV-7 of this shape instead, deleted afterwards]:0.1b|0.4b|1.5b:(0.1b 0.4b 1.5b)' '--threads[on the CPU; all physical cores unless given]:n:' '--rounds[medians of N rounds (5)]:n:' '--device[auto, cpu, cuda, cuda,N or mps]:device:' '--dtype[precision of the weights]:auto|fp32|bf16|fp16|int8|int4:(auto fp32 bf16 fp16 int8 int4)' '--gpu-layers[this many layers on the GPU, the rest on the CPU]:n:' '--strategy[which layers go where, such as "cuda fp16 *10 -> cpu fp32"]:text:' '--json[print one JSON object]' '--config[read this settings file instead of your own]:file:_files'
}

_chatrwkv_tune() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '(-o --output)'{-o,--output}'[the state, such as persona.pth]:file:_files' '(-m --model)'{-m,--model}'[name or path of the model]:model:_files' '(-p --prompt)'{-p,--prompt}'[template that turns are written in]:name:' '--held-out[examples that only measure, instead of a fifth]:file:_files' '--repeats[how often each is seen (4)]:n:' '--lr[first learning rate (1)]:x:' '--lr-final[last learning rate (0.01)]:x:' '--seed[order of the examples (1)]:n:' '--device[auto, cpu, cuda, cuda,N or mps]:device:' '--dtype[precision of the weights]:auto|fp32|bf16|fp16|int8|int4:(auto fp32 bf16 fp16 int8 int4)' '--gpu-layers[this many layers on the GPU, the rest on the CPU]:n:' '--strategy[which layers go where, such as "cuda fp16 *10 -> cpu fp32"]:text:' '--json[print one JSON object]' '--config[read this settings file instead of your own]:file:_files' '*:data:'
}

_chatrwkv_museum() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]' '*:prompt:'
}

_chatrwkv_config() {
    local line state
    _arguments -s -C '(-h --help)'{-h,--help}'[show this help message and exit]' '1: :->command' '*::argument:->rest'
    case $state in
        command)
            local -a commands=(
                'show:print each value and where it comes from'
                'check:exit 2 and say why if something is wrong'
                'path:print the path of the settings file'
            )
            _describe command commands ;;
        rest) case $line[1] in
                show) _chatrwkv_config_show ;;
                check) _chatrwkv_config_check ;;
                path) _chatrwkv_config_path ;;
            esac ;;
    esac
}

_chatrwkv_config_show() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]' '--config[read this settings file instead of your own]:file:_files'
}

_chatrwkv_config_check() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--config[read this settings file instead of your own]:file:_files'
}

_chatrwkv_config_path() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]'
}

_chatrwkv_paths() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]'
}

_chatrwkv_doctor() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '--json[print JSON]' '--config[read this settings file instead of your own]:file:_files'
}

_chatrwkv_completion() {
    _arguments -s '(-h --help)'{-h,--help}'[show this help message and exit]' '*:bash|zsh|fish:(bash zsh fish)'
}

_chatrwkv "$@"
