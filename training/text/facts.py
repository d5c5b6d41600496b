"""Tables of well-known facts for the generators: one line a table where that is readable."""

from __future__ import annotations

from training.text.wording import words


def _table(text: str) -> dict[str, str]:
    pairs = (item.split(":", 1) for item in text.replace("\n", " ").split(";"))
    return {key.strip(): value.strip() for key, value in pairs}


CAPITALS = _table(
    "France:Paris; Italy:Rome; Spain:Madrid; Germany:Berlin; England:London; Scotland:Edinburgh; Ireland:Dublin;"
    "Portugal:Lisbon; Austria:Vienna; Poland:Warsaw; Greece:Athens; Sweden:Stockholm; Norway:Oslo;"
    "Denmark:Copenhagen; Finland:Helsinki; Iceland:Reykjavik; Russia:Moscow; Ukraine:Kyiv; Hungary:Budapest;"
    "the Czech Republic:Prague; Slovakia:Bratislava; Slovenia:Ljubljana; Croatia:Zagreb; Serbia:Belgrade;"
    "Romania:Bucharest; Bulgaria:Sofia; Albania:Tirana; Estonia:Tallinn; Latvia:Riga; Lithuania:Vilnius;"
    "Belgium:Brussels; Luxembourg:Luxembourg; Turkey:Ankara; Egypt:Cairo; Morocco:Rabat; Tunisia:Tunis;"
    "Algeria:Algiers; Kenya:Nairobi; Ethiopia:Addis Ababa; Ghana:Accra; Nigeria:Abuja; Senegal:Dakar;"
    "China:Beijing; Japan:Tokyo; South Korea:Seoul; India:New Delhi; Nepal:Kathmandu; Thailand:Bangkok;"
    "Vietnam:Hanoi; the Philippines:Manila; Iran:Tehran; Iraq:Baghdad; Lebanon:Beirut; Jordan:Amman;"
    "Australia:Canberra; New Zealand:Wellington; Canada:Ottawa; the United States:Washington, D.C.;"
    "Mexico:Mexico City; Cuba:Havana; Brazil:Brasilia; Argentina:Buenos Aires; Chile:Santiago; Peru:Lima;"
    "Colombia:Bogota; Venezuela:Caracas; Ecuador:Quito; Uruguay:Montevideo; Mongolia:Ulaanbaatar"
)
CONTINENTS = _table(
    "France:Europe; Italy:Europe; Spain:Europe; Germany:Europe; Poland:Europe; Greece:Europe; Sweden:Europe;"
    "Norway:Europe; Portugal:Europe; Austria:Europe; Egypt:Africa; Kenya:Africa; Morocco:Africa; Ghana:Africa;"
    "Nigeria:Africa; Ethiopia:Africa; China:Asia; Japan:Asia; India:Asia; Nepal:Asia; Thailand:Asia; Vietnam:Asia;"
    "Canada:North America; Mexico:North America; the United States:North America; Brazil:South America;"
    "Peru:South America; Chile:South America; Argentina:South America; Colombia:South America"
)
LANGUAGES = _table(
    "France:French; Italy:Italian; Spain:Spanish; Germany:German; Austria:German; England:English; Poland:Polish;"
    "Portugal:Portuguese; Brazil:Portuguese; Mexico:Spanish; Argentina:Spanish; Chile:Spanish; Cuba:Spanish;"
    "Russia:Russian; Greece:Greek; Sweden:Swedish; Norway:Norwegian; Denmark:Danish; Hungary:Hungarian;"
    "China:Chinese; Japan:Japanese; Turkey:Turkish; Iran:Persian; Egypt:Arabic; Australia:English; Thailand:Thai"
)
OPPOSITES = _table(
    "big:small; hot:cold; up:down; day:night; good:bad; fast:slow; old:young; new:old; long:short; high:low;"
    "happy:sad; light:dark; heavy:light; hard:soft; wet:dry; full:empty; open:closed; clean:dirty; rich:poor;"
    "strong:weak; early:late; easy:difficult; loud:quiet; near:far; left:right; in:out; on:off; yes:no; true:false;"
    "black:white; warm:cool; thick:thin; wide:narrow; deep:shallow; sharp:blunt; sweet:sour; first:last;"
    "always:never; before:after; begin:end; start:stop; come:go; give:take; buy:sell; push:pull; laugh:cry;"
    "love:hate; win:lose; remember:forget; ask:answer; sleep:wake; summer:winter; north:south; east:west;"
    "morning:evening; friend:enemy; war:peace; inside:outside; above:below; front:back; top:bottom; smooth:rough;"
    "tall:short; small:big; cold:hot; down:up; night:day; bad:good; slow:fast; young:old; short:long; low:high;"
    "sad:happy; dark:light; soft:hard; dry:wet; empty:full; closed:open; dirty:clean; poor:rich; weak:strong;"
    "late:early; difficult:easy; quiet:loud; far:near; right:left; out:in; off:on; false:true; white:black;"
    "thin:thick; narrow:wide; last:first; never:always; after:before; end:begin; stop:start; go:come; sell:buy;"
    "lose:win; forget:remember; winter:summer; south:north; west:east; evening:morning; peace:war; outside:inside;"
    "polite:rude; safe:dangerous; cheap:expensive; busy:free; alive:dead; awake:asleep; same:different"
)
SYNONYMS = _table(
    "big:large; small:little; happy:glad; quick:fast; begin:start; end:finish; clever:smart; quiet:silent;"
    "afraid:scared; angry:mad; pretty:beautiful; rich:wealthy; sick:ill; tired:sleepy;"
    "simple:easy; hard:difficult; nice:kind; funny:amusing; strange:odd; correct:right; wrong:false; shop:store;"
    "answer:reply; talk:speak; look:watch; jump:leap; shout:yell; gift:present; road:street; stone:rock; sad:unhappy;"
    "sea:ocean; wood:forest; help:aid; close:shut; build:make; choose:pick; enormous:huge; tiny:very small"
)
PLURALS = _table(
    "cat:cats; dog:dogs; book:books; tree:trees; house:houses; mouse:mice; child:children; man:men; woman:women;"
    "tooth:teeth; foot:feet; goose:geese; sheep:sheep; fish:fish; person:people; leaf:leaves; knife:knives;"
    "wolf:wolves; wife:wives; life:lives; shelf:shelves; half:halves; loaf:loaves; box:boxes; bus:buses;"
    "glass:glasses; dish:dishes; church:churches; fox:foxes; baby:babies; city:cities; lady:ladies; story:stories;"
    "party:parties; fly:flies; boy:boys; key:keys; day:days; toy:toys; potato:potatoes; tomato:tomatoes; hero:heroes;"
    "piano:pianos; photo:photos; ox:oxen; deer:deer; apple:apples; egg:eggs; bird:birds; table:tables; chair:chairs"
)
PASTS = _table(
    "go:went; see:saw; eat:ate; run:ran; come:came; take:took; give:gave; make:made; find:found; say:said; tell:told;"
    "think:thought; buy:bought; bring:brought; teach:taught; catch:caught; write:wrote; speak:spoke; break:broke;"
    "sing:sang; drink:drank; swim:swam; begin:began; fly:flew; know:knew; grow:grew; draw:drew; sleep:slept;"
    "keep:kept; feel:felt; leave:left; meet:met; lose:lost; win:won; sit:sat; stand:stood; have:had; is:was; do:did;"
    "walk:walked; play:played; talk:talked; look:looked; work:worked; help:helped; open:opened; love:loved"
)
SOUNDS = _table(
    "cow:moo; dog:woof; cat:meow; sheep:baa; duck:quack; pig:oink; horse:neigh; lion:roar; owl:hoot; bee:buzz;"
    "snake:hiss; mouse:squeak; hen:cluck; rooster:cock-a-doodle-doo; frog:croak; wolf:howl; crow:caw; donkey:hee-haw;"
    "goat:bleat; bird:tweet; goose:honk; bear:growl; dove:coo; turkey:gobble"
)
HOMES = _table(
    "bird:nest; bee:hive; dog:kennel; horse:stable; spider:web; lion:den; bear:den; rabbit:burrow; fox:den;"
    "cow:barn; pig:sty; ant:nest; hen:coop; snail:shell; beaver:lodge; goldfish:tank; mole:burrow"
)
YOUNG = _table(
    "dog:puppy; cat:kitten; cow:calf; sheep:lamb; horse:foal; pig:piglet; hen:chick; duck:duckling; goose:gosling;"
    "goat:kid; bear:cub; lion:cub; frog:tadpole; butterfly:caterpillar; kangaroo:joey; deer:fawn; swan:cygnet;"
    "elephant:calf; whale:calf; wolf:pup; fox:cub"
)
COLOURS = _table(
    "grass:green; the sky:blue; snow:white; a banana:yellow; a lemon:yellow; a ripe tomato:red; blood:red; coal:black;"
    "milk:white; an orange:orange; a carrot:orange; a frog:green; chocolate:brown; the sun:yellow; a strawberry:red;"
    "an elephant:grey; a crow:black; a leaf in summer:green; a polar bear:white; a cucumber:green; a lime:green;"
    "a swan:white; a fire engine:red; honey:golden; salt:white; a plum:purple; a flamingo:pink; sand:yellow"
)
LEGS = _table(
    "spider:eight; dog:four; cat:four; cow:four; horse:four; bird:two; hen:two; ant:six; bee:six; fly:six; beetle:six;"
    "person:two; duck:two; sheep:four; elephant:four; snake:no; fish:no; worm:no; frog:four; butterfly:six; mouse:four;"
    "lion:four; penguin:two; ladybird:six"
)
FOODS = _table(
    "cow:grass; horse:grass and hay; cat:meat and fish; rabbit:grass and carrots; lion:meat; owl:mice; bee:nectar;"
    "panda:bamboo; mouse:seeds and grain; sheep:grass; frog:insects; spider:insects; squirrel:nuts; koala:leaves;"
    "giraffe:leaves; penguin:fish; seal:fish; caterpillar:leaves; hedgehog:insects and worms; goat:grass and leaves;"
    "bat:insects; snail:leaves; bear:berries, fish and meat; monkey:fruit and leaves; hen:grain and worms"
)
KINDS = _table(
    "apple:fruit; banana:fruit; carrot:vegetable; cat:animal; oak:tree; rose:flower; tulip:flower; violin:musical instrument;"
    "piano:musical instrument; guitar:musical instrument; hammer:tool; saw:tool; screwdriver:tool; football:game; chess:game;"
    "gold:metal; iron:metal; silver:metal; red:colour; blue:colour; green:colour; Monday:day; May:month; Paris:city;"
    "London:city; France:country; Japan:country; bread:food; cheese:food; milk:drink; tea:drink; coffee:drink; bus:vehicle;"
    "car:vehicle; bicycle:vehicle; shirt:piece of clothing; coat:piece of clothing; hat:piece of clothing; chair:piece of furniture;"
    "table:piece of furniture; bee:insect; ant:insect; sparrow:bird; eagle:bird; salmon:fish; shark:fish; Mars:planet;"
    "Jupiter:planet; potato:vegetable; onion:vegetable; cherry:fruit; pear:fruit; pine:tree; birch:tree; daisy:flower"
)
PLACES = _table(
    "bread:a bakery; books:a bookshop or a library; medicine:a pharmacy; stamps:a post office; meat:a butcher;"
    "flowers:a flower shop; shoes:a shoe shop; petrol:a petrol station; vegetables:a market; toys:a toy shop;"
    "films:a cinema; trains:a station; planes:an airport; ships:a harbour; doctors:a hospital; teachers:a school;"
    "paintings:a museum; wild animals:a zoo; money:a bank; cakes:a bakery"
)
USES = _table(
    "a hammer:hit nails; a knife:cut; a spoon:eat soup; a pen:write; a key:open a door; an umbrella:stay dry in the rain;"
    "a clock:tell the time; a broom:sweep the floor; a saw:cut wood; a needle:sew; a ladder:climb up; scissors:cut paper;"
    "a pot:cook; a lamp:give light; a phone:call people; a camera:take pictures; a bed:sleep; a chair:sit; soap:wash;"
    "a towel:get dry; a map:find the way; a ruler:measure and draw lines; a pillow:rest the head; a brush:paint or clean;"
    "a fridge:keep food cold; an oven:bake; a kettle:boil water; a mirror:see yourself; glasses:see better; a bell:ring"
)
JOBS = _table(
    "teacher:teaches people; baker:bakes bread; doctor:helps sick people; farmer:grows food; pilot:flies planes;"
    "painter:paints walls or pictures; cook:cooks food; nurse:cares for sick people; dentist:looks after teeth;"
    "postman:brings letters; gardener:looks after plants; writer:writes books; singer:sings; firefighter:puts out fires;"
    "tailor:makes clothes; carpenter:builds things of wood; sailor:works on a ship; librarian:looks after books;"
    "programmer:writes programs; judge:decides in court; butcher:cuts and sells meat; plumber:repairs water pipes;"
    "fisherman:catches fish; vet:helps sick animals; architect:plans houses; mechanic:repairs machines; miner:digs in mines"
)
RHYMES = _table(
    "cat:hat; dog:fog; house:mouse; tree:bee; sun:fun; moon:spoon; star:car; rain:train; cake:lake; ball:wall; king:ring;"
    "night:light; day:play; hand:sand; head:bed; fish:dish; book:cook; door:floor; boat:goat; nose:rose; snow:crow;"
    "bear:chair; fox:box; pen:hen; sea:tea; wing:song; hill:mill; sky:fly; time:lime; green:queen; blue:shoe; red:bread;"
    "clock:sock; love:dove; heart:art; cold:gold; sleep:sheep; two:blue; three:key; four:door; nine:line; ten:men"
)
RHYMES["wing"] = "ring"
UNITS = _table(
    "days are in a week:There are seven days in a week; months are in a year:There are twelve months in a year;"
    "hours are in a day:There are 24 hours in a day; minutes are in an hour:There are 60 minutes in an hour;"
    "seconds are in a minute:There are 60 seconds in a minute; days are in a year:There are 365 days in a year, and 366 in a leap year;"
    "weeks are in a year:There are about 52 weeks in a year; centimetres are in a metre:There are 100 centimetres in a metre;"
    "metres are in a kilometre:There are 1,000 metres in a kilometre; grams are in a kilogram:There are 1,000 grams in a kilogram;"
    "letters are in the alphabet:There are 26 letters in the English alphabet; years are in a century:There are 100 years in a century;"
    "years are in a decade:There are ten years in a decade; inches are in a foot:There are twelve inches in a foot;"
    "millimetres are in a centimetre:There are ten millimetres in a centimetre; eggs are in a dozen:There are twelve eggs in a dozen;"
    "sides does a triangle have:A triangle has three sides; sides does a square have:A square has four sides;"
    "corners does a square have:A square has four corners; wheels does a car have:A car has four wheels;"
    "wheels does a bicycle have:A bicycle has two wheels; fingers does a hand have:A hand has five fingers, with the thumb;"
    "strings does a violin have:A violin has four strings; strings does a guitar have:A guitar mostly has six strings;"
    "players are in a football team:A football team has eleven players; seasons are there:There are four seasons;"
    "continents are there:There are seven continents; planets does the sun have:The sun has eight planets;"
    "colours are in the rainbow:People name six or seven colours in the rainbow; oceans are there:There are five oceans;"
    "hearts does an octopus have:An octopus has three hearts; arms does an octopus have:An octopus has eight arms;"
    "minutes are in half an hour:There are 30 minutes in half an hour; days are in two weeks:There are 14 days in two weeks;"
    "cents are in a dollar:There are 100 cents in a dollar; cents are in a euro:There are 100 cents in a euro;"
    "sides does a hexagon have:A hexagon has six sides; squares are on a chess board:There are 64 squares on a chess board;"
    "bytes are in a kilobyte:There are 1,000 bytes in a kilobyte; bits are in a byte:There are eight bits in a byte"
)
WORDS_ABROAD = {  # English: French, Spanish, German, Italian
    "hello": ("bonjour", "hola", "hallo", "ciao"),
    "good morning": ("bonjour", "buenos dias", "guten Morgen", "buongiorno"),
    "good evening": ("bonsoir", "buenas tardes", "guten Abend", "buonasera"),
    "good night": ("bonne nuit", "buenas noches", "gute Nacht", "buona notte"),
    "goodbye": ("au revoir", "adios", "auf Wiedersehen", "arrivederci"),
    "thank you": ("merci", "gracias", "danke", "grazie"),
    "please": ("s'il vous plait", "por favor", "bitte", "per favore"),
    "yes": ("oui", "si", "ja", "si"),
    "no": ("non", "no", "nein", "no"),
    "water": ("eau", "agua", "Wasser", "acqua"),
    "bread": ("pain", "pan", "Brot", "pane"),
    "milk": ("lait", "leche", "Milch", "latte"),
    "coffee": ("cafe", "cafe", "Kaffee", "caffe"),
    "cat": ("chat", "gato", "Katze", "gatto"),
    "dog": ("chien", "perro", "Hund", "cane"),
    "house": ("maison", "casa", "Haus", "casa"),
    "friend": ("ami", "amigo", "Freund", "amico"),
    "sun": ("soleil", "sol", "Sonne", "sole"),
    "moon": ("lune", "luna", "Mond", "luna"),
    "book": ("livre", "libro", "Buch", "libro"),
    "love": ("amour", "amor", "Liebe", "amore"),
    "one": ("un", "uno", "eins", "uno"),
    "two": ("deux", "dos", "zwei", "due"),
    "three": ("trois", "tres", "drei", "tre"),
    "red": ("rouge", "rojo", "rot", "rosso"),
    "blue": ("bleu", "azul", "blau", "blu"),
    "good": ("bon", "bueno", "gut", "buono"),
    "tree": ("arbre", "arbol", "Baum", "albero"),
    "fish": ("poisson", "pescado", "Fisch", "pesce"),
}
TONGUES = ("French", "Spanish", "German", "Italian")
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words("January February March April May June July August September October November December")
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
SEASONS = ("spring", "summer", "autumn", "winter")
SPELLING = words(
    "cat dog sun moon star tree book fish bird milk cake rain snow house water apple green happy mouse horse hello "
    "world bread table chair music night light friend school yellow orange summer winter window garden flower river "
    "banana lemon paper stone cloud plane train robot monkey rabbit kitten puppy letter answer"
)
