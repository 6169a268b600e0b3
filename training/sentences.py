"""English text to be spoken for training, and other text that is kept for evaluation only."""

from __future__ import annotations

import random
from typing import Final


def _choices(text: str) -> list[str]:
    return text.split("|")


PHONE_RICH: Final = """\
The quick brown fox jumps over the lazy dog.
She sells sea shells by the sea shore on sunny summer mornings.
Peter Piper picked a peck of pickled peppers, but Bob bought bread.
How much wood would a woodchuck chuck if a woodchuck could chuck wood?
Five very fine violets for my favourite vivacious friend.
Oh boy, you know the loud cow was down by the old mouse house.
Good afternoon, thank you for calling. How may I help you today?
We are moving through a smooth blue room with a huge new moon.
Yes please, the cheese and the peas are quite cheap this week.
I thought that thirty three thieves threw their things there.
Choose your shoes, judge, and measure the treasure with pleasure.
A happy man can clap his hands and laugh at that bad map.
Lily rolled the yellow lemon along the lower wall of the hall.
Father started the large car and parked far from the market.
The weather will be warm and windy with a few showers later on.
Please remember to bring my umbrella, because maybe it becomes humid by noon.
Early birds heard the nurse murmur thirty words in the church.
Joy enjoyed the noisy toys that the boy employed.
Why might nine kind lions lie quietly behind the pines?
They say eight grey apes ate great cakes on the train.
Mumbling, Pamela bumped the lamp and stamped on the map.
Give Vivian five leaves of clover above the river.
Do you want to open the window or would you rather wait outside?
Zebras and zoos amuse us as the breeze blows over the roses.
Thank you very much, have a wonderful day and goodbye.
Baby bubbles pop above the pump, maybe by the bumpy pebbles.
A chef from France fried fifty fresh fish for the festival.
Pop, mama, papa, baby, puppy, bamboo, mobile, memo.
You, who, two, blue, shoe, through, true, new.
See, me, tea, key, we, he, three, please.
Ah, ha, spa, father, bra, palm, calm, drama.
The vague usual vision of beige garages was an illusion.
Which witch watched the wristwatch while washing the white wall?
Rural jurors rarely hurried round the rugged rural road.
The sixth sick sheik's sixth sheep is sick.
Unique New York, you know you need unique New York.
Red lorry, yellow lorry, red lorry, yellow lorry.
Hmm, well, maybe. Um, I am not sure about that.
One, two, three, four, five, six, seven, eight, nine, ten.
Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.
January, February, March, April, May, June, July.
A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T, U, V, W, X, Y, Z.
Stop. Please stop. Look up, jump up, and keep up.
Hello. Hi there. Good morning. Good evening. Good night. Bye bye.
Okay, sure. No problem. Of course. Absolutely. Perfect.
""".splitlines()

HELD_OUT: Final = """\
Welcome back. Before we begin, let me tell you a little about what happened this morning.
The museum will open its doors at half past nine, and visitors may walk through every room.
My brother bought a purple bicycle, but he never rides it when it rains.
Could you possibly move the table a bit further from the fireplace?
Most people believe that honey keeps for a thousand years.
Shall we give the children some chocolate after the puppet show?
If the boat leaves before five, we will have to pack tomorrow evening.
She pushed the heavy box up the hill, paused for breath, and laughed.
Victor prefers coffee, while Emma always wants peppermint tea.
The professor wrote a short poem about a wolf and a very small mouse.
No, thank you. I have already booked a room by the harbour.
You should see how the bright leaves fall from the maple trees.
""".splitlines()
"""Spoken only by the held-out voice, only to measure with."""

GERMAN: Final = """\
Guten Morgen, möchten Sie über die schöne Brücke fahren?
Zwei Häuser stehen neben dem großen Baum, und davor blüht eine weiße Blume.
Pfeffer und Äpfel, Butter und Brot, mehr brauchen wir heute Abend bitte nicht.
Mein Bruder möchte im Frühling mit euch nach Bamberg fahren.
Vielleicht habe ich morgen früh ein paar Minuten Zeit für Sie.
Der Papagei im Park plappert fröhlich vor sich hin.
Wie viele Freunde kommen am Sonntag zum Fußball?
Auf Wiedersehen, und vielen Dank für Ihren Anruf.
""".splitlines()
SPANISH: Final = """\
Buenos días, ¿quiere usted beber un poco de agua?
Mañana viajamos a Barcelona con mi abuelo y el perro.
El niño llama a su amiga Julia para jugar al fútbol.
La familia prepara una comida muy buena para Pablo.
Por favor, abra la puerta y ponga la mesa para cinco personas.
Me gusta mucho la música, pero prefiero el baile.
Hoy hace un tiempo fabuloso y el mar parece un espejo.
Muchas gracias por su llamada, hasta luego.
""".splitlines()
FRENCH: Final = """\
Bonjour, je voudrais un peu de beurre et du pain, s'il vous plaît.
Une lune bleue brille sur le fleuve pendant la nuit.
Mon oncle mange un bon poisson au bord de l'eau.
Ma famille habite à Paris, mais ma femme vient de Bruxelles.
Pouvez-vous fermer la porte et ouvrir la petite fenêtre ?
Il fait beau, profitons du parc avec papa et maman.
Vous avez raison, je ne peux pas vous voir avant jeudi.
Merci beaucoup et à bientôt, bonne fin de journée.
""".splitlines()

_PEOPLE: Final = _choices(
    "my brother|the new teacher|our neighbour|Maria|Benjamin|the old farmer|a famous painter|the bus driver|"
    "my whole family|Philip|the young woman|a friendly doctor|your manager|the police officer|George|Olivia|"
    "the vet|both boys|her mother|a French chef|the woman from Wales|Mr. Murphy|the shop owner|nobody|everyone"
)
_VERBS: Final = _choices(
    "bought|pushed|found|measured|washed|moved|wrapped up|forgot|brought back|looked for|talked about|painted|"
    "borrowed|wished for|threw away|chose|fixed|gave away|picked up|remembered|photographed|sold|visited|broke|"
    "put down|worked on|asked about|pulled over|laughed at|waited for"
)
_THINGS: Final = _choices(
    "a blue umbrella|the huge box|fourteen apples|a wooden boat|the television|a cup of coffee|some fresh bread|"
    "the purple balloon|an old map|five yellow flowers|the garage|a small mouse|two cheap watches|the big bell|"
    "a jar of honey|the movie|a bag of potatoes|the broken computer|a beautiful poem|some vegetables|the orange|"
    "a pair of shoes|the whole picture|a very long letter|the first chapter|a smooth stone|the phone number"
)
_PLACES: Final = _choices(
    "in the kitchen|by the river|at the market|near the museum|above the village|on the roof|under the bridge|"
    "at the airport|in front of the church|behind the house|outside the theatre|over the wall|in Paris|"
    "on the beach|beyond the forest|through the window|at the usual place|from the upper floor"
)
_TIMES: Final = _choices(
    "yesterday|this morning|before lunch|on Friday evening|about an hour ago|every February|last summer|"
    "after the show|at half past five|in the middle of the night|a few weeks ago|when it was raining|twice a month|"
    "just now|while we were away|during the voyage"
)
_ADJECTIVES: Final = _choices(
    "wonderful|cheap|impossible|very useful|rather loud|famous|quite empty|too heavy|perfectly smooth|awful|"
    "fairly obvious|much better|rough|a bit odd|superb|more expensive|strange|worth it|enough|beautiful"
)
_OPENERS: Final = _choices(
    "Well|Oh|You know|Honestly|As far as I remember|Okay|By the way|Hmm|Actually|Yes|No|Maybe|Look|"
    "In my opinion|Of course|To be fair|Wow|Sure"
)
_PATTERNS: Final = (
    "{person} {verb} {thing} {place} {time}.",
    "{opener}, {person} {verb} {thing} {time}.",
    "I think {thing} {place} was {adjective}.",
    "Why do you believe that {person} {verb} {thing}?",
    "{opener}. {thing} was {adjective}, but {person} {verb} it {place}.",
    "Would you please show me {thing}? It must be {place}.",
    "{time}, {person} and {person2} {verb} {thing}, and then {verb2} {thing2}.",
    "Have you ever seen {thing} {place}? It is {adjective}, {adjective2} and {adjective3}.",
    "The number is {n1}, {n2}, {n3}, {n4}.",
    "What a {adjective} day! {person} {verb} {thing}.",
    "We need {n1} more, because {person} {verb} only {n2} {place}.",
    "{opener}, it was {adjective}.",
    "Thank you. I will ask whether {person} {verb} {thing} {time}.",
    "{thing}, {thing2}, {place}.",
)


def training_sentences(count: int, seed: int = 1) -> list[str]:
    """`count` different sentences: the phone-rich ones first, then made from patterns; the same for one seed."""
    rng = random.Random(seed)
    sentences = list(PHONE_RICH)
    seen = {*sentences, *HELD_OUT}
    while len(sentences) < count:
        thing, thing2 = rng.sample(_THINGS, 2)
        person, person2 = rng.sample(_PEOPLE, 2)
        verb, verb2 = rng.sample(_VERBS, 2)
        adjectives = rng.sample(_ADJECTIVES, 3)
        text = rng.choice(_PATTERNS).format(
            person=person,
            person2=person2,
            verb=verb,
            verb2=verb2,
            thing=thing,
            thing2=thing2,
            place=rng.choice(_PLACES),
            time=rng.choice(_TIMES),
            adjective=adjectives[0],
            adjective2=adjectives[1],
            adjective3=adjectives[2],
            opener=rng.choice(_OPENERS),
            n1=rng.randint(2, 99),
            n2=rng.randint(2, 99),
            n3=rng.randint(100, 999),
            n4=rng.randint(1000, 9999),
        )
        text = text[0].upper() + text[1:]
        if text not in seen:
            seen.add(text)
            sentences.append(text)
    return sentences[:count]
