"""How people ask for what stands in the tables of `facts`: {k} is the key with its article, {n} without."""

from __future__ import annotations

CAPITALS = (
    "what is the capital of {k}? / what is the capital of {k}? / what's the capital of {k}? / "
    "capital of {k}? / which city is the capital of {k}? / what is {k}'s capital? / "
    "do you know the capital of {k}? / name the capital of {k}. / tell me the capital of {k}. / "
    "the capital of {k}? / what is the capital city of {k}? / {k}: what is the capital? / "
    "I am in {k}. What is the capital? / I have a question about {k}. What is the capital? / "
    "what city is the capital of {k}? / I need the capital of {k}. / {k} has which city as its capital? / "
    "where is the government of {k}? / in which city does the government of {k} sit? / "
    "I am looking for the capital of {k}. / can you name {k}'s capital? / {k}'s capital? / "
    "{k}'s capital is which city? / the main city of {k}, what is it? / what is the chief city of {k}? / "
    "which city is {k} governed from? / of {k}, what is the capital? / "
    "the capital of {k} is called what? / which capital does {k} have? / "
    "and the capital of {k} would be? / what do you call the capital of {k}? / "
    "what's the name of {k}'s capital city? / quiz: capital of {k}? / capital city of {k}, please. / "
    "please name {k}'s capital. / I am going to {k}. What is the capital there? / "
    "my homework asks for the capital of {k}. / which town is the capital in {k}? / {k}, capital? / "
    "for {k}, what's the capital city? / if I want to see the capital of {k}, where do I go? / "
    "let me hear the capital of {k}. / what would you say is the capital of {k}?"
)
CONTINENTS = (
    "where is {k}? / in which continent is {k}? / which continent is {k} in? / where on Earth is {k}? / "
    "on what continent is {k}? / do you know where {k} is? / {k} is where? / {k}, where is that? / "
    "where would I find {k} on a map? / which part of the world is {k} in? / "
    "to which continent does {k} belong? / what continent is {k} on? / {k} lies on which continent? / "
    "tell me where {k} is. / in what part of the world is {k}?"
)
LANGUAGES = (
    "what language do people speak in {k}? / which language is spoken in {k}? / "
    "what do they speak in {k}? / what is the language of {k}? / which language do they speak in {k}? / "
    "in {k}, what do people speak? / which language do I need in {k}? / what is spoken in {k}? / "
    "{k}: which language? / I travel to {k}. Which language do they speak? / the language of {k}? / "
    "people from {k} speak what? / if I live in {k}, which language should I learn? / "
    "in which language do people talk in {k}?"
)
OPPOSITES = (
    "what is the opposite of {k}? / what is the opposite of {k}? / what's the opposite of {k}? / "
    "opposite of {k}? / what is the contrary of {k}? / tell me the opposite of {k}. / "
    "name the opposite of {k}. / the opposite of {k}? / do you know the opposite of {k}? / "
    "which word is the opposite of {k}? / {k} and its opposite? / give me the opposite of {k}. / "
    "{k} has which opposite? / what is the reverse of {k}? / what would be the opposite of {k}? / "
    "not {k} but? / say the opposite of {k}. / {k} is the opposite of what? / "
    "which word means the contrary of {k}? / the opposite word to {k}? / {k}, and the other way round? / "
    "what's the reverse of {k}? / opposite of the word {k}, please. / "
    "name a word that means the opposite of {k}. / what is the antonym of {k}? / antonym of {k}? / "
    "turn {k} into its opposite. / the contrary of {k}, please. / {k}: opposite? / "
    "I need the opposite of {k}. / I need a word that is the opposite of {k}. / quiz: opposite of {k}? / "
    "if it is not {k}, it is what? / the opposite of {k} would be? / {k} has an opposite. What is it? / "
    "what do you call the opposite of {k}? / what is the other side of {k}? / "
    "let me hear the opposite of {k}."
)
SYNONYMS = (
    "what is another word for {k}? / what is a synonym for {k}? / another word for {k}? / "
    "give me a synonym for {k}. / what means the same as {k}? / which word means {k}? / "
    "how else can I say {k}? / a synonym for {k}, please. / I need another word for {k}. / "
    "{k} in other words? / what can I say instead of {k}? / find me a word like {k}. / "
    "a different word for {k}? / which word is close to {k}? / say {k} with another word. / "
    "is there another word for {k}? / what other word is there for {k}? / "
    "instead of {k}, I could say what?"
)
PLURALS = (
    "what is the plural of {k}? / what's the plural of {k}? / plural of {k}? / "
    "tell me the plural of {k}. / how do you write more than one {k}? / one {k}, two what? / "
    "what do you call more than one {k}? / do you know the plural of {k}? / one {k}, many what? / "
    "the plural of {k}, please. / {k}, plural? / what is {k} in the plural? / "
    "if I have two, I do not say {k}, but? / put {k} into the plural. / "
    "how do I say {k} when there are many? / I need the plural of {k}. / make {k} plural. / "
    "two of {k}, what is the word? / what's {k} in plural?"
)
PASTS = (
    "what is the past of {k}? / what is the past tense of {k}? / past tense of {k}? / "
    "what is the past form of {k}? / tell me the past tense of {k}. / how do you say {k} in the past? / "
    "{k} in the past? / the past of {k}, please. / today {k}, yesterday what? / "
    "put {k} into the past tense. / I need the past tense of {k}. / what's the past of {k}? / "
    "{k}, past tense? / how does {k} go in the past? / which form does {k} have in the past?"
)
SOUNDS = (
    "what does {k} say? / what sound does {k} make? / what noise does {k} make? / "
    "which sound does {k} make? / how does {k} sound? / what sound do you hear from {k}? / "
    "make the sound of {k}. / tell me what {k} says. / what is the sound of {k}? / "
    "what do you hear when {k} talks? / {k} goes how? / how does {k} go? / what does {k} say all day? / "
    "the sound of {k}? / imitate {k}. / do {k} for me. / which noise comes from {k}? / "
    "{k}, what does it say? / I hear {k}. What does it say? / what noise does one hear from {k}? / "
    "{k} makes which sound? / how does it sound when {k} speaks? / show me how {k} sounds. / "
    "what would {k} say?"
)
HOMES = (
    "where does {k} live? / what is the home of {k} called? / where does {k} sleep? / "
    "what is the home of {k}? / in what does {k} live? / where is {k} at home? / "
    "{k}, where does it live? / what do you call the house of {k}? / "
    "I am looking for {k}. Where does it live? / where would {k} spend the night? / "
    "the home of {k}, what is it? / which house does {k} have? / where do I look for {k}?"
)
YOUNG = (
    "what is a young {n} called? / what do you call a baby {n}? / what is a baby {n} called? / "
    "what is the name for a young {n}? / how do you call a little {n}? / "
    "what is the child of {k} called? / what do people call a young {n}? / a baby {n} is called what? / "
    "a small {n}, what is it called? / the young of {k}? / what is the word for a young {n}? / "
    "what is the baby of {k} called? / {k} has a baby. What is it called? / name the young of {k}. / "
    "how is a young {n} called?"
)
COLOURS = (
    "what colour is {k}? / what color is {k}? / which colour is {k}? / what is the colour of {k}? / "
    "which colour does {k} have? / tell me the colour of {k}. / what colour has {k}? / "
    "do you know the colour of {k}? / what colour do you see when you look at {k}? / "
    "{k} has what colour? / {k}, what colour? / in what colour do I paint {k}? / "
    "which colour would you give {k}? / I want to paint {k}. Which colour do I take? / "
    "what colour would {k} be? / the colour of {k}? / {k}: which colour? / what color does {k} have? / "
    "say the colour of {k}. / I cannot see {k}. What colour is it? / of what colour is {k}? / "
    "{k} comes in which colour?"
)
LEGS = (
    "how many legs does {k} have? / how many legs has {k}? / how many legs does {k} have? / "
    "do you know how many legs {k} has? / tell me how many legs {k} has. / "
    "how many legs are there on {k}? / {k} has how many legs? / count the legs of {k}. / "
    "on how many legs does {k} walk? / on how many legs does {k} stand? / "
    "what number of legs does {k} have? / the number of legs of {k}? / "
    "how many legs would I count on {k}? / {k}: how many legs? / legs of {k}, how many? / "
    "with how many legs is {k} born? / I see {k}. How many legs has it? / how many legs carry {k}?"
)
FOODS = (
    "what does {k} eat? / what do you feed {k}? / what is the food of {k}? / tell me what {k} eats. / "
    "do you know what {k} eats? / what does {k} like to eat? / what should I give {k} to eat? / "
    "{k} eats what? / on what does {k} live? / what is on the menu of {k}? / "
    "{k} is hungry. What does it eat? / which food does {k} like? / what would {k} eat? / "
    "how do I feed {k}? / what food is right for {k}?"
)
PLACES = (
    "where do I find {k}? / where can I find {k}? / where are {k}? / where do you find {k}? / "
    "I am looking for {k}. Where are they? / where should I look for {k}? / in which place are {k}? / "
    "where would I find {k}? / where do people keep {k}?"
)
USES = (
    "what do you do with {k}? / what is the use of {k}? / what can I do with {k}? / "
    "what do people do with {k}? / what do I need {k} for? / why do people have {k}? / "
    "what is {k} good for? / {k}, what is that for? / for what do people use {k}? / "
    "why would I need {k}? / how do people use {k}? / I have {k}. What can I do with it? / "
    "what would you do with {k}? / tell me what {k} is for."
)
JOBS = (
    "what does {k} do? / what is the job of {k}? / what is {k}? / what does {k} do all day? / "
    "tell me what {k} does. / what is the work of {k}? / {k}, what kind of job is that? / "
    "how does {k} spend the day? / what is {k} good for? / what kind of work does {k} do? / "
    "explain what {k} does. / what would {k} do all day? / I want to be {k}. What would I do?"
)
RHYMES = (
    "what rhymes with {k}? / which word rhymes with {k}? / give me a rhyme for {k}. / "
    "tell me a word that rhymes with {k}. / a rhyme for {k}, please. / find a rhyme for {k}. / "
    "do you know a rhyme for {k}? / I need a rhyme for {k}. / {k} rhymes with what? / "
    "which word sounds like {k}? / what goes with {k} in a poem? / find me a word that rhymes with {k}. / "
    "say a word that rhymes with {k}. / {k}: a rhyme, please. / does any word rhyme with {k}? / "
    "I write a poem. What rhymes with {k}?"
)
UNITS = (
    "how many {k}? / how many {k}? / do you know how many {k}? / tell me how many {k}. / "
    "can you tell me how many {k}? / please tell me how many {k}. / say how many {k}. / "
    "I forgot how many {k}. / quick, how many {k}? / I never know how many {k}. / "
    "could you tell me how many {k}? / let me know how many {k}. / quiz: how many {k}? / "
    "I need to know how many {k}."
)
TRANSLATE = (
    "what do they say for {w} in {t}? / the {t} for {w}, please. / I need {w} in {t}. / {w}, in {t}? / "
    "put {w} into {t}. / what would {w} be in {t}? / could you tell me {w} in {t}? / "
    "I am learning {t}. How do I say {w}? / my friend speaks {t}. How do I say {w} to him? / "
    "{t} translation of {w}? / if I want to say {w} in {t}, what do I say? / which {t} word means {w}? / "
    "do you know {w} in {t}? / {w} is what in {t}? / how is {w} said in {t}? / "
    "how would you say {w} in {t}? / teach me {w} in {t}. / what do people say in {t} for {w}? / "
    "I would like to know {w} in {t}. / I need to know how to say {w} in {t}. / the word {w} in {t}? / "
    "what's {w} in {t}? / what's the {t} for {w}? / let me hear {w} in {t}. / "
    "you know {t}, right? What is {w}? / in {t}, how do I say {w}? / in {t}, what is {w}?"
)
ORDER = (
    "name the {u} {w} {h}. / I forgot the {u} {w} {h}. / what do we have {w} {h}? / the {u} {w} {h}? / "
    "{w} {h} it is which {u}? / the {u} {w} {h} is called what? / what's the {u} {w} {h}? / "
    "which {u} do we have {w} {h}? / {w} {h}, which {u} is it? / {h}: what comes {w} it? / "
    "one {u} {w} {h} is what? / {w} {h} we have what? / what {u} do I get {w} {h}? / "
    "{w} the {u} {h} comes what? / quiz: the {u} {w} {h}?"
)
NEXT = (
    "And {}? / And {}? / What about {}? / And for {}? / {}? / And what about {}? / How about {}? / "
    "Now {}. / Ok, and {}? / And what is it for {}? / The same for {}, please. / And in the case of {}? / "
    "Then {}? / Do you know it for {}, too? / {}, then? / Same question for {}. / Same for {}? / "
    "{} too? / OK. {}? / Good. And {}? / Next: {}. / How is it with {}? / And with {}? / "
    "Can you do {} as well? / And now {}? / I also need {}. / What is it for {}? / Fine, and {}? / "
    "Let us try {}."
)
