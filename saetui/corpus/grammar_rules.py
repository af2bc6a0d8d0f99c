"""The rules of the synthetic world: everyday sentences in which a hyphen has one of four known left contexts.

Notation, one rule a line: ``NAME: weight alternative | weight alternative | …`` (weight 1 where none is
given), continued on indented lines. A name in capitals is expanded, any other word is a token with a space
before it, ``+word`` one without, and ``+-count`` a hyphen with the label ``count``. In ``NAME = a b c`` the
words are single alternatives with the frequencies of Zipf's law, the first being the most common. ``a`` and
``A`` become ``an`` and ``An`` before a vowel.

Half of what follows a hyphen, ``HALF``, is the same after all of them, the other half is its class's: so the
hyphen is one thing to a narrow SAE, and four to a wide one.
"""

RULES = """
SENTENCE: 5 SUBJECT VERBPHRASE END | 2 Yesterday ONE was PASSIVE by ONE END | 2 It was ONE TAIL END | 2
    There was ONE in PLACE END | 1 After THING , PERSON VERBPHRASE END | 1 Was ONE LINKED ? | 2 NAME and
    PERSON ACTED OBJECT END | 1 When PERSON came , ONE was LINKED END | 1 Only NUMBER PLURAL were LINKED END
    | 1 But PERSON said that ONE was LINKED END
END: 9 +. | 1 +!
TAIL: 2 for PERSON | 1 from PLACE | 1 about THING | 1 of PERSON

SUBJECT: 4 The NOUN | 2 A NOUN | 3 NAME | 2 PRONOUN | 1 The ADJ NOUN | 1.3 The COMPOUND NOUN | 1 This NOUN |
    1.3 A COMPOUND NOUN
PERSON: 3 the ROLE | 2 a ROLE | 1 the ADJ ROLE | 1 my ROLE | 0.4 the COMPOUND ROLE | 0.4 a COMPOUND ROLE
THING: 3 the OBJ | 3 a OBJ | 2 the ADJ OBJ | 1 a ADJ OBJ | 0.9 the COMPOUND OBJ | 1.2 a COMPOUND OBJ | 1
    some GOODS | 1 their OBJ
PLACE: 4 the SITE | 1 a ADJ SITE | 1 the ADJ SITE | 0.5 a COMPOUND SITE | 0.4 the COMPOUND SITE | 1 this
    SITE
ONE: 5 THING | 2 PERSON | 1 PLACE
OBJECT: 7 ONE | 1 NUMBER PLURAL
NOUN: 2 ROLE | 2 OBJ | 1 SITE

VERBPHRASE: 5 ACTED OBJECT | 3 ACTED OBJECT ADVERBIAL | 2 MOVED ADVERBIAL | 2 was LINKED | 2 was LINKED
    ADVERBIAL | 2 wanted to ACT OBJECT | 1 could not ACT OBJECT | 1 ADVERB ACTED OBJECT | 1 said that ONE
    was LINKED | 1 has PASSIVE OBJECT for PERIOD | 1 asked PERSON for THING
LINKED: 3 ADJ | 2 very ADJ | 1 too ADJ | 1 ADJ and ADJ | 1 not ADJ | 1 PASSIVE | 0.3 COMPOUND
ADVERBIAL: 3 in PLACE | 2 near PLACE | 1 with PERSON | 1 with THING | 1 for PERIOD | 1 in YEAR | 1 ADVERB |
    1 at night | 1 after PERIOD
PERIOD: 1 a UNIT | 2 NUMBER UNITS | 1 a long time | 1 many UNITS
NUMBER: 2 SMALL | 1 FEW | 1 FIRST DIGIT
YEAR: 2 1 +9 DIGIT DIGIT | 1 1 +8 DIGIT DIGIT | 1 2 +0 DIGIT DIGIT

COMPOUND: 28 COUNTED | 28 QUALIFIED | 27 MEASURED | 16 PREFIXED
COUNTED: COUNT +-count COUNTEDHALF
COUNTEDHALF: 1 HALF | 1 COUNTABLE
MEASURED: 1 FIRST +-digit MEASUREDHALF | 2 FIRST DIGIT +-digit MEASUREDHALF | 0.5 FIRST DIGIT DIGIT +-digit
    MEASUREDHALF
MEASUREDHALF: 1 HALF | 1 MEASURE

HALF = +level +style +based +type +grade +scale +class +range +size +model +order +value +format +theme +frame
    +market +town +focus +power +world
COUNT = two three multi four single five six double triple seven eight ten nine dual
SMALL = two three four five six seven ten eight nine
FEW = 2 3 5 4 6 8 7 9
FIRST = 1 2 3 5 4 6 8 7 9
DIGIT = +0 +5 +2 +4 +6 +8 +1 +3 +7 +9
COUNTABLE = +part +level +story +way +sided +door +seat +lane +channel +stage +wheel +party +layer +track
    +piece +room +color +year +step +course
MEASURE = +day +year +mile +page +minute +hour +month +week +foot +inch +pound +bit +point +degree +acre
    +ton +meter +dollar +volt +part
UNIT = day year week month moment minute hour
UNITS = years days weeks months hours minutes

NAME = John Mary Peter Anna Tom Lucy James Alice Robert Emma Henry Clara David Ruth Martin Julia
PRONOUN = He She Nobody Everyone Somebody It
ROLE = man woman teacher doctor farmer child student king writer soldier sister brother worker captain
    lawyer painter baker driver friend neighbor nurse judge actor sailor player leader mother father
    daughter son
OBJ = plan house book car story machine letter game bridge boat song picture report horse table box meal
    coat film table ship door window clock map engine chair knife lamp train bird dog cat tree stone flower
    knot wheel rope bottle drawing contract project system program speech trip war lesson question answer
    deal offer
SITE = city village house street garden river forest school market field hotel station harbor kitchen tower
    valley island church library museum office prison desert lake mountain hospital theater road
GOODS = water bread money wood paper milk sugar oil rice gold iron coal wool salt tea coffee
PLURAL = people children books houses horses letters ships trees workers soldiers students birds machines
    stories stones teachers boats dogs farmers games windows cars bridges songs
ADJ = long old new high good short low small open big hard great full deep dark fast young cold warm slow
    clear wide bad strong heavy soft bright sharp quick light rich free late early close hot dry thin thick
    clean poor broad far well ill quiet empty famous simple strange happy angry tired modern ancient wooden
    green red blue white black
ACTED = saw found made sold bought took built lost left kept showed gave wrote read liked hated opened
    closed broke carried painted repaired described moved followed watched heard visited forgot finished
ACT = see find make sell buy take build leave keep show write read open close break carry paint repair
    describe move follow watch visit forget finish
MOVED = walked ran lived worked stayed waited slept sang fell stood sat traveled arrived fought
PASSIVE = made found sold built lost kept opened closed broken carried painted repaired described followed
    visited
ADVERB = slowly quickly often never always quietly suddenly again early later carefully almost finally
    rarely
"""

QUALIFIERS = {
    "long": "term lasting range standing distance",
    "high": "level quality speed ranking pitched",
    "short": "term lived sighted range tempered",
    "low": "level cost key risk lying",
    "well": "known made kept read dressed",
    "full": "time scale size length color",
    "open": "ended minded air source hearted",
    "hard": "working wearing hearted hitting",
    "old": "fashioned school world",
    "fast": "moving growing paced acting",
    "slow": "moving burning growing cooked",
    "deep": "rooted seated sea fried",
    "wide": "ranging eyed spread angle",
    "good": "natured looking humored tempered",
    "dark": "haired eyed colored toned",
    "warm": "hearted blooded toned",
    "cold": "blooded hearted pressed",
    "soft": "spoken hearted shelled",
    "heavy": "duty handed hearted set",
    "light": "hearted weight colored footed",
    "far": "reaching sighted flung",
    "new": "found born look",
    "clear": "cut headed sighted eyed",
    "sharp": "eyed edged tongued witted",
    "quick": "witted tempered acting",
    "late": "night stage blooming",
    "early": "morning stage blooming",
    "free": "standing range flowing thinking",
    "close": "knit fitting range up",
    "bright": "eyed colored",
    "strong": "willed minded armed",
    "broad": "shouldered minded based",
    "thick": "walled set skinned",
    "thin": "walled skinned lipped",
    "hot": "headed blooded tempered",
    "clean": "shaven cut burning",
    "bad": "tempered mannered looking",
    "ill": "advised fated timed mannered",
    "dry": "cleaned cured stone",
    "rich": "colored toned looking",
}
"""What follows ``adjective-`` beside ``HALF``: mostly any of these words, some more often its own."""

PREFIXES = {
    "self": "made taught service governing cleaning",
    "non": "stop fiction human profit existent",
    "re": "elected built opened written",
    "ex": "soldier husband king wife",
    "co": "owned written founder pilot",
    "pre": "war paid cooked arranged",
    "anti": "war aircraft theft slip",
    "semi": "final skilled circular official",
    "post": "war modern",
    "cross": "country border eyed",
}
"""The hyphens that are none of the three: ``self-made``, ``non-stop``."""
