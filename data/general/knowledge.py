"""What the probe's questions are made of, written for it: pairs by relation, each with a sentence that the second ends.

Distractors are the other right sides of the same relation, so each relation has at least four different ones.
"""


def pairs(text: str) -> list[list[str]]:
    """The parts of each word of the text, underscores read as blanks."""
    return [[part.replace("_", " ") for part in word.split(":")] for word in text.split()]


FACTS: dict[str, tuple[str, str]] = {
    "capital": (
        "The capital of {} is",
        "France:Paris Germany:Berlin Italy:Rome Spain:Madrid Japan:Tokyo Russia:Moscow China:Beijing Egypt:Cairo "
        "Greece:Athens Portugal:Lisbon Austria:Vienna Poland:Warsaw Norway:Oslo Sweden:Stockholm Finland:Helsinki "
        "Denmark:Copenhagen Ireland:Dublin Hungary:Budapest Canada:Ottawa Cuba:Havana Peru:Lima Kenya:Nairobi "
        "Thailand:Bangkok Iran:Tehran Iraq:Baghdad Turkey:Ankara Belgium:Brussels Iceland:Reykjavik Chile:Santiago "
        "Vietnam:Hanoi Romania:Bucharest Bulgaria:Sofia Ukraine:Kyiv Syria:Damascus Lebanon:Beirut Morocco:Rabat "
        "Nepal:Kathmandu Colombia:Bogotá Venezuela:Caracas Philippines:Manila",
    ),
    "continent": (
        "The country of {} lies on the continent of",
        "Kenya:Africa Nigeria:Africa Egypt:Africa Ghana:Africa Brazil:South_America Peru:South_America "
        "Argentina:South_America Chile:South_America France:Europe Poland:Europe Spain:Europe Sweden:Europe "
        "India:Asia China:Asia Japan:Asia Thailand:Asia Canada:North_America Mexico:North_America",
    ),
    "language": (
        "The language most people speak in {} is",
        "Brazil:Portuguese Mexico:Spanish Austria:German Egypt:Arabic France:French Poland:Polish Greece:Greek "
        "Italy:Italian Turkey:Turkish Sweden:Swedish Hungary:Hungarian Japan:Japanese Russia:Russian Denmark:Danish "
        "Finland:Finnish England:English",
    ),
    "symbol": (
        "In chemistry, the symbol {} stands for the element",
        "H:hydrogen O:oxygen C:carbon N:nitrogen Fe:iron Au:gold Ag:silver Cu:copper Na:sodium K:potassium "
        "Ca:calcium Pb:lead He:helium Zn:zinc Sn:tin Hg:mercury S:sulfur Al:aluminium U:uranium Cl:chlorine",
    ),
    "sound": (
        "The sound that a {} makes is called a",
        "dog:bark cat:meow cow:moo duck:quack lion:roar pig:oink snake:hiss frog:croak bee:buzz wolf:howl "
        "horse:neigh bird:chirp",
    ),
    "young": (
        "A young {} is called a",
        "dog:puppy cat:kitten cow:calf horse:foal sheep:lamb bear:cub duck:duckling goat:kid frog:tadpole deer:fawn "
        "chicken:chick goose:gosling",
    ),
    "colour": (
        "Most people would say that the colour of {} is",
        "grass:green snow:white blood:red coal:black a_lemon:yellow the_clear_sky:blue a_carrot:orange milk:white "
        "a_ripe_tomato:red chocolate:brown the_sun:yellow an_elephant:grey a_frog:green soot:black a_flamingo:pink",
    ),
    "home": (
        "The home that is built by, or made for, a {} is called a",
        "bird:nest bee:hive dog:kennel spider:web rabbit:burrow horse:stable king:palace pig:sty soldier:barracks "
        "lion:den monk:monastery nun:convent",
    ),
    "job": (
        "A person whose job is to {} is called a",
        "bake_bread:baker teach_children:teacher fly_aeroplanes:pilot grow_crops:farmer catch_fish:fisherman "
        "cut_hair:barber write_novels:novelist repair_teeth:dentist sell_meat:butcher put_out_fires:firefighter "
        "make_clothes:tailor repair_pipes:plumber drive_a_taxi:driver treat_sick_animals:vet paint_pictures:painter "
        "take_photographs:photographer build_houses:builder",
    ),
    "organ": (
        "The part of the body that is used to {} is the",
        "see:eye hear:ear smell:nose taste:tongue think:brain pump_blood:heart breathe:lungs chew:teeth walk:legs "
        "digest_food:stomach hold_a_pen:hand",
    ),
    "tool": (
        "The tool or thing that people use to {} is a",
        "cut_paper:pair_of_scissors drive_in_nails:hammer tell_the_time:clock sweep_the_floor:broom "
        "measure_temperature:thermometer dig_a_hole:shovel look_at_the_stars:telescope write_on_paper:pencil "
        "open_a_lock:key eat_soup:spoon weigh_things:scale light_a_dark_room:lamp keep_off_the_rain:umbrella "
        "find_north:compass saw_wood:saw cool_food:refrigerator call_a_friend:telephone",
    ),
    "material": (
        "The main material that {} is made of is",
        "a_window:glass a_newspaper:paper a_sword:metal a_candle:wax a_tyre:rubber a_jumper:wool a_brick:clay "
        "a_fence_post:wood a_T-shirt:cotton ice:water a_shoe:leather",
    ),
    "season": (
        "The time of the year or day at which {} is",
        "snow_falls_most_often:winter leaves_fall_from_the_trees:autumn the_weather_is_hottest:summer "
        "flowers_begin_to_bloom:spring the_sun_rises:morning the_sun_sets:evening stars_are_seen_best:night "
        "people_have_lunch:noon",
    ),
    "currency": (
        "The money that people pay with in {} is the",
        "Japan:yen India:rupee Russia:ruble England:pound Mexico:peso China:yuan Germany:euro Switzerland:franc "
        "Sweden:krona Poland:zloty Turkey:lira Canada:dollar Thailand:baht Israel:shekel",
    ),
    "author": (
        "The person who is famous for {} is",
        "writing_Hamlet:William_Shakespeare painting_the_Mona_Lisa:Leonardo_da_Vinci "
        "the_theory_of_relativity:Albert_Einstein the_theory_of_evolution:Charles_Darwin "
        "the_laws_of_motion:Isaac_Newton composing_the_Moonlight_Sonata:Ludwig_van_Beethoven "
        "inventing_the_telephone:Alexander_Graham_Bell discovering_radium:Marie_Curie "
        "writing_Oliver_Twist:Charles_Dickens writing_War_and_Peace:Leo_Tolstoy "
        "writing_Don_Quixote:Miguel_de_Cervantes sailing_to_America_in_1492:Christopher_Columbus "
        "painting_Guernica:Pablo_Picasso discovering_penicillin:Alexander_Fleming",
    ),
    "planet": (
        "Of the planets around our sun, the one that {} is",
        "is_closest_to_the_sun:Mercury is_the_largest:Jupiter has_the_most_famous_rings:Saturn "
        "people_live_on:Earth is_called_the_red_planet:Mars is_farthest_from_the_sun:Neptune",
    ),
}
"""Relation to a sentence and its pairs ``left:right``; an underscore is a blank."""

OPPOSITES = (
    "hot:cold big:small fast:slow high:low old:young happy:sad light:dark early:late full:empty hard:soft open:closed "
    "rich:poor strong:weak wet:dry wide:narrow good:bad long:short near:far clean:dirty loud:quiet first:last up:down "
    "left:right true:false win:lose buy:sell push:pull begin:end love:hate remember:forget ask:answer cheap:expensive "
    "thick:thin heavy:light sweet:sour sharp:blunt deep:shallow inside:outside above:below before:after always:never "
    "increase:decrease arrive:depart accept:refuse success:failure north:south east:west day:night brave:cowardly "
    "simple:complex rough:smooth tight:loose"
)
SYNONYMS = (
    "big:large begin:start quick:fast happy:glad smart:clever sick:ill tired:weary angry:furious scared:afraid "
    "shut:close end:finish silent:quiet rich:wealthy strange:odd gift:present error:mistake choose:select buy:purchase "
    "help:assist reply:answer hard:difficult simple:easy near:close hurry:rush jump:leap yell:shout sofa:couch "
    "street:road stone:rock autumn:fall film:movie rubbish:garbage humorous:funny wonderful:marvellous "
    "brave:courageous correct:right ancient:old freedom:liberty"
)
KINDS = (
    "apple:fruit carrot:vegetable rose:flower oak:tree hammer:tool piano:instrument chair:furniture "
    "shirt:clothing bus:vehicle eagle:bird salmon:fish ant:insect red:colour Monday:day July:month football:sport "
    "gold:metal Paris:city Spain:country coffee:drink doctor:job circle:shape uncle:relative winter:season "
    "Italian:language diamond:gem waltz:dance pine:tree tulip:flower bee:insect violin:instrument "
    "sparrow:bird trout:fish banana:fruit table:furniture screwdriver:tool tennis:sport"
)
PLURALS = (
    "child:children:childs:childes mouse:mice:mouses:mousen foot:feet:foots:feets tooth:teeth:tooths:teeths "
    "man:men:mans:mens woman:women:womans:womens goose:geese:gooses:geeses leaf:leaves:leafs:leave "
    "knife:knives:knifes:knive wolf:wolves:wolfs:wolve city:cities:citys:cityes box:boxes:boxs:boxen "
    "baby:babies:babys:babyes bus:buses:buss:busen dish:dishes:dishs:dishen life:lives:lifes:livs "
    "ox:oxen:oxes:oxs person:people:peoples:peopled story:stories:storys:storyes wife:wives:wifes:wive"
)
"""Singular, plural, two wrong ones."""
PASTS = (
    "go:went:goed:gone see:saw:seed:seen eat:ate:eated:eaten take:took:taked:taken write:wrote:writed:written "
    "run:ran:runned:running buy:bought:buyed:buying think:thought:thinked:thinking bring:brought:bringed:brang "
    "sing:sang:singed:singing swim:swam:swimmed:swum drink:drank:drinked:drunk fly:flew:flied:flown "
    "break:broke:breaked:broken give:gave:gived:given know:knew:knowed:known speak:spoke:speaked:spoken "
    "drive:drove:drived:driven catch:caught:catched:catching sleep:slept:sleeped:sleeping "
    "teach:taught:teached:teaching hold:held:holded:holding find:found:finded:finding come:came:comed:coming "
    "sit:sat:sitted:sitting"
)
"""Verb, past tense, two wrong ones."""

NAMES = [
    name
    for (name,) in pairs(
        "Anna Ben Clara David Emma Frank Grace Henry Irene Jack Karen Leo Maria Nick Olga Paul Rosa Sam Tina Victor"
    )
]
NOUNS = [
    noun
    for (noun,) in pairs(
        "dog cat teacher farmer child driver student doctor bird nurse king baker singer soldier horse"
    )
]
