"""Things a person may tell, how they are asked for later, and the small talk in between."""

from __future__ import annotations

from dataclasses import dataclass

from training.text.wording import words

NAMES = words(
    "Ana Ben Carla David Emma Felix Grace Hugo Iris Jack Kate Leo Mia Noah Olga Paul Quinn Rosa Sam Tina Uma Victor "
    "Wendy Xenia Yusuf Zoe Alice Bob Clara Daniel Ella Frank Gina Henry Ida Jonas Kim Laura Max Nina Oscar Peter Rita "
    "Simon Tom Ursula Vera Will Yara Zack Anna Boris Chen Dora Eric Fatima George Hana Ivan Julia Karl Lucy Maria Nick "
    "Omar Pia Ravi Sara Tim Lena Marta Mei Ali Amir Aisha Bruno Cora Dan Eva Finn Gus Heidi Ian Jane Ken Liam Maya Nora "
    "Otto Petra Rob Sofia Theo Vic Walter Yuki Arthur Bella Charlie Diana Elias Flora Greta Harry Isabel James Kira Linda"
)
LIKES = words(
    "tea coffee chocolate apples bananas grapes pizza bread cheese soup rice pasta oranges cherries cake music books films "
    "chess football tennis swimming running dancing singing painting cooking hiking cats dogs horses birds flowers trees "
    "trains ships stars mountains summer winter snow rain stories riddles puzzles gardens history maths physics Python "
    "pancakes cookies honey milk lemons peaches plums pears melons tomatoes carrots nuts ice-cream blueberries raspberries"
)
COLOURS = words("red blue green yellow black white brown grey orange pink purple")
PETS = words("cat dog rabbit hamster parrot goldfish turtle horse mouse snake goat hen duck pony")
PET_NAMES = words(
    "Rex Bella Luna Max Coco Milo Daisy Oscar Fluffy Ruby Simba Rocky Lucky Molly Socks Pepper Biscuit Shadow"
)
CITIES = words(
    "Paris London Berlin Rome Madrid Vienna Oslo Lisbon Prague Dublin Tokyo Sydney Toronto Chicago Boston Lima Cairo Athens "
    "Warsaw Helsinki Geneva Munich Milan Porto Seville Hamburg Leeds Bristol Dallas Seattle Denver Montreal Kyoto Mumbai"
)
JOBS = words(
    "teacher nurse doctor baker cook painter student farmer programmer writer driver gardener singer pilot lawyer"
)
OBJECTS = words(
    "coat hat bag car bike house door chair cup table shirt scarf boat guitar phone book tent sofa pen lamp"
)
SPOTS = words("drawer box bag kitchen garden car cupboard basket pocket cellar bedroom fridge desk shed hall")
THINGS = words(
    "key phone book pen wallet umbrella ring ticket letter map watch coin glasses-case lamp ball hammer"
)
PLANS = words(
    "go swimming;bake a cake;visit my aunt;clean my room;read a book;buy new shoes;plant a tree;paint the door;"
    "watch a film;play tennis;cook some soup;write a letter;fix my bike;go to the market;call my mother;learn ten words",
    ";",
)
SECRETS = words(
    "apple river lamp tiger candle window stone garden silver paper rocket button forest mirror pepper castle"
)
KIN = words("brother sister mother father son daughter friend aunt uncle cousin neighbour teacher")

FILLERS = (
    ("How are you?", "I am fine, thank you. How are you?"),
    ("Tell me a joke.", "Why did the bicycle fall over? It was two tired."),
    ("That is nice.", "I think so too."),
    ("Thank you.", "You are welcome!"),
    ("What are you?", "I am the small built-in demo model of chatrwkv."),
    (
        "What can you do?",
        "I can chat, tell a joke or a short story, answer easy questions and do small sums.",
    ),
    ("Why is the sky blue?", "The sky is blue because the air scatters blue light more than red light."),
    ("What is 2 plus 3?", "2 plus 3 is 5."),
    ("What is the capital of Spain?", "The capital of Spain is Madrid."),
    ("I am tired today.", "Then be kind to yourself today. Is there time for a nap?"),
    ("Good.", "What would you like to do next?"),
    ("Interesting.", "I think so too. Shall we go on?"),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("It is a nice day.", "I am glad to hear that. Enjoy it!"),
    ("Do you like music?", "I cannot hear it, but I like the words. And you?"),
    ("Count to five.", "1, 2, 3, 4, 5."),
)


@dataclass(frozen=True, slots=True)
class Memory:
    """A thing to remember: how it is told, taken note of, asked for and given back; slots {x} and {y}."""

    told: str
    noted: str
    asked: str
    answered: str
    first: tuple[str, ...]
    second: tuple[str, ...] = ("",)


MEMORIES: tuple[tuple[int, Memory], ...] = (
    (
        8,
        Memory(
            "My name is {x}. / I am {x}. / I'm {x}. / Hello, my name is {x}. / Hi, I am {x}. / Call me {x}. / "
            "Hello, I'm {x}. / They call me {x}. / My name's {x}. / Hi, my name is {x}. / You can call me {x}. / "
            "People call me {x}. / Please call me {x}. / Hey, {x} here. / "
            "The name is {x}. / {x} is my name. / I go by {x}. / My friends call me {x}. / It is {x}. / This is {x}. / "
            "I'm called {x}. / You are talking to {x}. / Let me introduce myself: I am {x}. / "
            "My parents named me {x}. / Everybody calls me {x}. / My first name is {x}. / Just call me {x}. / "
            "Hello little model, I am {x}. / You may call me {x}. / By the way, I am {x}. / "
            "I have not said it yet: my name is {x}. / {x}, that is my name. / Hi! {x} is what they call me.",
            "Hello, {x}. It is nice to meet you. / Nice to meet you, {x}. / Hello, {x}! How are you? / "
            "Hi, {x}. What shall we talk about? / Welcome, {x}. / It is good to meet you, {x}.",
            "What is my name? / What's my name? / Do you remember my name? / Who am I? / Do you know my name? / "
            "What was my name? / Tell me my name. / What am I called? / Say my name. / And what is my name? / "
            "So who am I? / What did I say my name was? / Can you say my name? / Have you kept my name in mind? / "
            "My name is what? / Which name did I tell you? / Now, what is my name? / How am I called? / "
            "Who do you think I am? / What did I tell you my name is? / Do you still know my name? / "
            "Do you still know who I am? / You remember my name, right? / Can you tell me what my name is? / "
            "Tell me who I am. / By what name do you know me? / Which name is mine? / What name did I give you? / "
            "Quick, what's my name? / I forgot my own name. What is it? / Can you recall my name? / "
            "Remind me of my name. / And my name? / My name again? / What is it that people call me? / "
            "What should you call me? / What name do I have? / I hope you remember my name. What is it? / "
            "Did you catch my name? / Let me test you: what is my name? / My name, please. / With whom do you talk? / "
            "What do my friends call me?",
            "Your name is {x}. / Your name is {x}. / You are {x}.",
            tuple(NAMES),
        ),
    ),
    (
        7,
        Memory(
            "I like {x}. / I love {x}. / I really like {x}. / I like {x} a lot. / I enjoy {x}. / I am fond of {x}. / "
            "I like {x} very much. / My great love is {x}. / I like {x} best of all. / "
            "I am crazy about {x}. / I cannot live without {x}. / My favourite thing is {x}. / I am a big fan of {x}. / "
            "What I like is {x}. / I adore {x}. / I'm into {x}. / Nothing beats {x}. / "
            "There is one thing I like: {x}. / For me it has to be {x}. / I could never say no to {x}. / "
            "You know what I like? {X}!",
            "{X}! A good choice. / I see, you like {x}. / You like {x}. That is good to know. / Many people like {x}.",
            "What do I like? / What did I say I like? / Do you remember what I like? / Tell me what I like. / "
            "What is it that I like? / What do I love? / And what do I like? / So what do I like? / "
            "What was it that I like? / Do you know what I like? / Which thing do I like? / What did I tell you I like? / "
            "What am I fond of? / What was my favourite thing? / What is it I enjoy? / What did I say I love? / "
            "What do I enjoy? / Can you say what I like? / Remind me what I like. / Do you still know what I like? / "
            "What do I like best? / Which thing did I say I like? / Name the thing that I like. / What am I a fan of? / "
            "You know what I like, don't you? / What am I crazy about? / What would make me happy? / "
            "And what was it that I love?",
            "You like {x}. / You said that you like {x}.",
            tuple(item.replace("-", " ") for item in LIKES),
        ),
    ),
    (
        3,
        Memory(
            "I like {x}. / I love {x}. / I like {x} very much. / I eat {x} every day. / I like {x} a lot. / My favourite fruit is {x}.",
            "{X} are a good choice. / {X} are healthy. / I see, you like {x}.",
            "What fruit do I like? / Which fruit do I like? / What was my fruit? / Which fruit was it? / "
            "Do you remember which fruit I like? / What is the fruit that I like? / And which fruit do I like?",
            "You like {x}.",
            tuple(
                words(
                    "apples bananas grapes oranges cherries lemons peaches plums pears melons blueberries raspberries figs"
                )
            ),
        ),
    ),
    (
        3,
        Memory(
            "I do not like {x}. / I don't like {x}. / I hate {x}. / I cannot stand {x}. / I never liked {x}. / "
            "I am no friend of {x}. / I really do not like {x}. / I can't stand {x}. / Please no {x}. / "
            "I'm not a fan of {x}. / I dislike {x}. / Keep {x} away from me. / I want nothing to do with {x}.",
            "I see, you do not like {x}. / No {x} for you, then. / All right, I will not offer you {x}.",
            "What do I not like? / What don't I like? / What did I say I do not like? / What do I hate? / "
            "Do you remember what I do not like? / "
            "What can't I stand? / What do I dislike? / Which thing do I not like? / What am I not a fan of? / "
            "Tell me what I do not like. / What is it that I hate? / Remind me what I do not like. / "
            "What should you never offer me?",
            "You do not like {x}.",
            tuple(item.replace("-", " ") for item in LIKES),
        ),
    ),
    (
        4,
        Memory(
            "My favourite colour is {x}. / My favorite color is {x}. / I like the colour {x} best. / The colour I like most is {x}. / "
            "{X} is the best colour. / {X} is my favourite colour. / For me the best colour is {x}. / "
            "No colour is better than {x}. / If I could choose a colour, it would be {x}. / My colour is {x}.",
            "{X} is a good colour. / A good choice. {X} is nice. / I see: {x} it is.",
            "What is my favourite colour? / Which colour do I like best? / What's my favorite color? / "
            "Do you remember my favourite colour? / Which colour do I like? / And my favourite colour? / "
            "What colour do I like? / What colour did I say I like? / Which is my favourite colour? / "
            "Tell me my favourite colour. / What is my colour? / Do you know my favourite colour? / "
            "Remind me of my favourite colour. / Which colour would I choose? / What colour would please me most?",
            "Your favourite colour is {x}.",
            tuple(COLOURS),
        ),
    ),
    (
        5,
        Memory(
            "I have a {x}. / I have a {x} at home. / At home I have a {x}. / I own a {x}. / There is a {x} in my house. / I got a {x}. / "
            "We have a {x}. / My pet is a {x}. / A {x} lives with me. / I live with a {x}. / I keep a {x}. / "
            "My family has a {x}. / There is a {x} sleeping next to me.",
            "A {x}! That must be fun. / How nice, a {x}. / A {x} is good company.",
            "Which animal do I have? / What animal do I have? / What pet do I have? / Do you remember my pet? / "
            "What kind of animal do I have? / Which pet do I have at home? / What animal is in my house? / "
            "What animal lives with me? / Tell me which animal I have. / What's my pet? / What pet did I say I have? / "
            "Which pet is mine? / What kind of pet do I have? / Do you know what animal I have? / My pet is what? / "
            "Who lives with me?",
            "You have a {x}.",
            tuple(PETS),
        ),
    ),
    (
        5,
        Memory(
            "My {x} is called {y}. / My {x}'s name is {y}. / I have a {x} called {y}. / I have a {x} named {y}. / The name of my {x} is {y}. / "
            "My {x} answers to {y}. / {y} is my {x}. / We call our {x} {y}. / I named my {x} {y}. / "
            "This is my {x} {y}. / {y} is the name of my {x}. / My {x} has the name {y}.",
            "{y} is a good name for a {x}. / Say hello to {y} from me. / {y}! A fine name for a {x}.",
            "What is my {x} called? / What is the name of my {x}? / What's my {x}'s name? / How is my {x} called? / "
            "Do you remember the name of my {x}? / And what is my {x} called? / What did I say my {x} is called? / "
            "What did I name my {x}? / My {x}'s name? / Tell me my {x}'s name. / Which name has my {x}? / "
            "What name did I give my {x}? / Do you know what my {x} is called? / What is my {x} named? / "
            "How do I call my {x}? / My {x} is called what? / I have a {x}, but what is its name?",
            "Your {x} is called {y}.",
            tuple(PETS),
            tuple(PET_NAMES),
        ),
    ),
    (
        5,
        Memory(
            "My {x} is called {y}. / My {x}'s name is {y}. / The name of my {x} is {y}. / I have a {x}, {y}. / "
            "{y} is my {x}. / My {x} is {y}. / I have a {x} named {y}. / I have a {x} called {y}. / "
            "{y} is the name of my {x}.",
            "{y} is a nice name. / Say hello to {y} from me. / I see, your {x} is {y}.",
            "What is my {x} called? / What is the name of my {x}? / What's my {x}'s name? / Who is {y}? / "
            "Do you remember the name of my {x}? / How is my {x} called? / "
            "Tell me the name of my {x}. / What did I say my {x} is called? / Which name has my {x}? / "
            "Do you know my {x}'s name? / My {x}'s name? / What is my {x} named? / Remind me of the name of my {x}. / "
            "And the name of my {x}?",
            "Your {x} is called {y}.",
            tuple(KIN),
            tuple(NAMES),
        ),
    ),
    (
        6,
        Memory(
            "My {x} is {y}. / I have a {y} {x}. / I bought a {y} {x}. / I got a new {x}. It is {y}. / My new {x} is {y}. / "
            "I painted my {x} {y}. / The colour of my {x} is {y}.",
            "A {y} {x} sounds good. / {Y} is a nice colour for a {x}. / I see, a {y} {x}.",
            "What colour is my {x}? / Which colour is my {x}? / What is the colour of my {x}? / Which colour has my {x}? / "
            "Do you remember the colour of my {x}? / What color is my {x}? / Which colour did I say my {x} is? / And my {x}, what colour is it? / "
            "Tell me the colour of my {x}. / My {x} is which colour? / In what colour is my {x}? / "
            "Do you know which colour my {x} is? / What colour did I say my {x} has? / "
            "Remind me of the colour of my {x}.",
            "Your {x} is {y}.",
            tuple(OBJECTS + PETS),
            tuple(COLOURS),
        ),
    ),
    (
        5,
        Memory(
            "I live in {x}. / I am from {x}. / I come from {x}. / My home is in {x}. / I'm from {x}. / I was born in {x}. / I moved to {x}. / "
            "{x} is my home. / {x} is where I live. / I grew up in {x}. / My city is {x}. / I'm living in {x}. / "
            "I am in {x} right now. / I am writing from {x}. / Greetings from {x}. / Hello from {x}.",
            "{x} is an interesting place. / I have never been to {x}, or anywhere. / Greetings to {x}!",
            "Where do I live? / Where am I from? / Which city is mine? / What is my city? / Do you remember my city? / "
            "In which city do I live? / Where is my home? / What city am I from? / Which city did I name? / "
            "Where do I come from? / In which place do I live? / Where did I say I live? / Do you know where I live? / "
            "Tell me where I live. / Which town do I live in? / Where am I at home? / "
            "Where do I live, do you remember? / What is my home town? / Remind me where I live. / "
            "Where am I writing from? / What place do I come from?",
            "Your city is {x}.",
            tuple(CITIES),
        ),
    ),
    (
        4,
        Memory(
            "I am a {x}. / I work as a {x}. / My job is {x}. / I'm a {x}. / "
            "I earn my money as a {x}. / I became a {x}. / By day I am a {x}. / I have been a {x} for years. / "
            "People pay me to be a {x}.",
            "A {x}! That is a good thing to be. / Being a {x} sounds interesting. / I see, you are a {x}.",
            "What is my job? / What do I do? / What am I? / What do I work as? / Do you remember my job? / What's my job? / Which job do I have? / "
            "What is my work? / How do I earn my money? / Which job is mine? / What did I say my job is? / "
            "Do you know what I do? / Tell me my job. / What do I do for a living? / What's my profession? / "
            "What am I by profession?",
            "You are a {x}.",
            tuple(JOBS),
        ),
    ),
    (
        3,
        Memory(
            "I am {x} years old. / I'm {x} years old. / My age is {x}. / I am {x}. / I turned {x}.",
            "{x} is a good age. / {x} years! I am younger than that. / I see, you are {x}.",
            "How old am I? / What is my age? / Do you remember my age? / How old did I say I am? / How many years am I? / "
            "What age am I? / Tell me my age. / Do you know how old I am? / My age? / Remind me how old I am. / "
            "How many years old am I? / You know my age, don't you?",
            "You are {x} years old.",
            tuple(str(n) for n in range(8, 90)),
        ),
    ),
    (
        5,
        Memory(
            "My {x} is in the {y}. / I put my {x} in the {y}. / The {x} is in the {y}. / I left my {x} in the {y}. / I keep my {x} in the {y}. / "
            "I hid my {x} in the {y}. / My {x} lies in the {y}. / Please remember that my {x} is in the {y}. / "
            "The {y} is where I put my {x}. / I left the {x} in the {y}.",
            "I will keep that in mind. / All right: the {x} is in the {y}. / Good to know.",
            "Where is my {x}? / Where is the {x}? / Where did I put my {x}? / Do you remember where my {x} is? / "
            "I cannot find my {x}. Where is it? / Where did I leave my {x}? / "
            "Where do I find my {x}? / Where was my {x}? / Tell me where my {x} is. / I need my {x}. Where is it? / "
            "My {x}, where is it? / Where have I put my {x}? / Where should I look for my {x}? / "
            "I lost my {x}. Where did I leave it? / Do you know where my {x} is? / In which place is my {x}? / "
            "Help me find my {x}.",
            "Your {x} is in the {y}.",
            tuple(item.replace("-", " ") for item in THINGS),
            tuple(SPOTS),
        ),
    ),
    (
        4,
        Memory(
            "Tomorrow I want to {x}. / Tomorrow I will {x}. / I want to {x} tomorrow. / My plan for tomorrow is to {x}.",
            "That is a good plan. / Have fun with that. / A fine plan for a day.",
            "What do I want to do tomorrow? / What is my plan for tomorrow? / What will I do tomorrow? / Do you remember my plan? / What is my plan? / "
            "What did I want to do tomorrow? / Tell me my plan. / What are my plans? / "
            "What am I going to do tomorrow? / What did I say I will do tomorrow? / And tomorrow, what do I do?",
            "Tomorrow you want to {x}.",
            tuple(PLANS),
        ),
    ),
    (
        4,
        Memory(
            "Remember the word {x}. / Please remember the word {x}. / Keep the word {x} in mind. / The secret word is {x}. / Remember this: {x}. / "
            "The word is {x}. / I give you a word: {x}. / Here is a word for you: {x}. / Learn this word: {x}. / "
            "Memorize the word {x}. / Keep this word for me: {x}. / The password is {x}. / "
            "Do not forget the word {x}.",
            "I will remember the word {x}. / All right, the word is {x}. / {X}. I will keep it in mind.",
            "What was the word? / Which word did you keep in mind? / What is the secret word? / What should you remember? / Do you remember the word? / "
            "Tell me the word. / What is the word? / What word did I give you? / Which word should you keep? / "
            "What was the secret word? / Give me the word back. / The word was? / What was that word again? / "
            "Remind me of the word. / What is the password? / I forgot the word. What was it? / And the word?",
            "The word was {x}.",
            tuple(SECRETS),
        ),
    ),
    (
        4,
        Memory(
            "Remember the number {x}. / Please remember the number {x}. / My lucky number is {x}. / My favourite number is {x}.",
            "I will remember the number {x}. / All right, the number is {x}. / {x} is a good number.",
            "What was the number? / Which number did I tell you? / Do you remember the number? / What is my number? / Which number was it? / "
            "Tell me the number. / What is the number? / What number did I give you? / Which number should you keep? / "
            "What was that number again? / Remind me of the number. / I forgot the number. What was it? / "
            "And the number?",
            "The number was {x}. / You told me the number {x}.",
            tuple(str(n) for n in range(1, 100)),
        ),
    ),
)
