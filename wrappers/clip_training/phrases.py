"""The words of the captions; all wordings of one constant mean the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CARS = (
    "the red car", "the red car", "the red vehicle", "the red vehicle", "red vehicle", "red car",
    "a red car", "a red vehicle", "the ego vehicle", "the ego car", "the car", "the vehicle",
    "our car", "our vehicle", "this car", "the car in red", "the self-driving car",
    "the autonomous vehicle", "the red automobile", "the driver",
)  # fmt: skip

SAFE_DOING = (
    "driving safely", "driving safely", "driving in safety", "moving safely", "travelling safely",
    "safe", "perfectly safe", "in a safe state", "out of danger", "not in danger", "in no danger",
    "driving without danger", "driving without any accident", "driving with no accident",
    "driving safely without accidents", "moving along with no car accident",
    "going on its way with no car accidents", "free of accidents", "far from any accident",
    "at no risk of a collision", "not at risk", "driving without risk", "driving carefully",
    "keeping a safe distance", "keeping its distance from the other cars", "safely under way",
    "cruising safely", "not about to crash", "driving smoothly and safely",
    "driving normally with no crashes", "not having an accident", "avoiding all accidents",
    "not encountering an accident", "driving well", "driving properly", "driving securely",
    "following the road safely", "staying clear of the other vehicles", "accident free",
)  # fmt: skip
SAFE_SENTENCES = (
    "safe driving", "a safe situation", "a safe driving scene", "no danger for {car}",
    "there is no danger", "all is well", "there are no car accidents",
    "there is no accident around {car}", "no accidents and no collisions", "no crash is near",
    "{car} drives safely", "{car} moves safely along the road", "{car} travels without accidents",
    "{car} has no accident", "{car} has nothing to fear", "{car} has plenty of time to react",
    "{car} keeps a safe distance to all other cars", "{car} will not crash soon",
    "no collision threatens {car}", "the road is safe for {car}", "nothing is wrong with {car}",
    "no car accident happens here", "traffic flows and {car} is safe", "a safe scene, no accidents",
    "everything is under control", "{car} has enough room", "no risk of an accident for {car}",
    "the situation of {car} is not dangerous", "safe", "{car} drives with no accidents",
)  # fmt: skip
SAFE_ENDINGS = (
    " with no accidents", " with no car accidents", " and there are no accidents",
    " without any collision", " with no crash in sight", ", no car accident happens",
    " and no accident is coming", " without danger", " with nobody in its way", " on the road",
    " without car accidents", ", far from any danger", " and no car accidents occur",
)  # fmt: skip

UNSAFE_DOING = (
    "in danger", "in great danger", "driving dangerously", "driving unsafely", "not safe", "unsafe",
    "not driving safely", "at risk of an accident", "at risk of a collision",
    "about to have an accident", "having an accident or about to have one",
    "encountering an accident", "encountering danger", "encountering a car accident",
    "facing an accident", "running into an accident", "heading for an accident",
    "heading for a collision", "on a collision course", "meeting with an accident",
    "involved in an accident or close to one", "near an accident", "close to a crash",
    "driving into danger", "losing control of the situation", "driving recklessly",
    "experiencing an accident", "going to have a car accident", "threatened by an accident",
    "getting into an accident", "getting into trouble", "causing an accident",
    "far too close to danger", "having a car accident",
)  # fmt: skip
UNSAFE_SENTENCES = (
    "unsafe driving", "a dangerous situation", "danger", "a dangerous driving scene",
    "an accident or nearly one", "a car accident", "an accident", "this is not safe",
    "{car} drives dangerously", "{car} does not drive safely", "{car} is not driving safely",
    "an accident threatens {car}", "{car} cannot avoid an accident easily",
    "{car} has an accident or will have one soon", "an unsafe scene, an accident is near",
    "there is danger for {car}", "the situation of {car} is dangerous", "a near miss or a crash",
    "{car} must brake now", "{car} has no time left to react", "something is going wrong",
    "there is a car accident or one is coming", "{car} meets with an accident",
    "{car} encounters an accident", "the red car and another one have an accident or nearly so",
)  # fmt: skip

COLLIDED_DOING = (
    "crashing into another car", "colliding with another vehicle", "hitting a green car",
    "touching another car", "in a collision", "in contact with another vehicle",
    "colliding with a green car", "having a collision", "bumping into another car", "crashed",
    "crashing",
)  # fmt: skip
COLLIDED_SENTENCES = (
    "{car} has collided with another vehicle", "{car} has crashed", "{car} has hit a green car",
    "a crash between {car} and another car", "{car} and a green car overlap",
    "two cars have collided", "{car} hit another vehicle", "a collision has happened",
    "{car} crashes into another vehicle", "the cars have crashed into each other",
)  # fmt: skip

OFF_ROAD_DOING = (
    "driving off the road", "driving off the road", "leaving the road", "off the road",
    "deviating from its trajectory", "deviating from its path", "deviating from its lane",
    "deviating from its route", "deviating from the trajectory", "departing from its lane",
    "straying from its trajectory", "straying from the road", "going off the road",
    "running off the road", "outside the road", "beyond the road's edge", "off the asphalt",
    "driving on the black ground beside the road", "leaving its trajectory", "leaving its lane",
    "drifting off its path", "crossing the orange edge of the road", "not on the road any more",
)  # fmt: skip
OFF_ROAD_SENTENCES = (
    "{car} has left the road", "{car} drove off the road", "{car} stands beside the road",
    "{car} deviates from its trajectory", "{car} went off the road", "{car} is not on the road",
    "{car} has deviated from its path", "{car} leaves the road", "a car off the road",
    "{car} crosses the edge of the road", "{car} left its lane and the road",
)  # fmt: skip
ON_ROAD_DOING = (
    "on the road", "staying on the road", "keeping to the road", "following its trajectory",
    "keeping to its lane", "following its path", "not deviating from its trajectory",
    "not driving off the road", "between the road's edges", "on its way along the road",
    "staying within the lanes", "driving on the road", "holding its trajectory",
)  # fmt: skip
ON_ROAD_SENTENCES = (
    "{car} stays on the road", "{car} follows its trajectory", "{car} keeps to the asphalt",
    "{car} has not left the road", "{car} drives on the road", "{car} follows its lane",
)  # fmt: skip

IMMINENT_DOING = (
    "about to crash", "about to collide", "about to hit another car", "just before a crash",
    "seconds away from a collision", "closing in too fast on another car",
    "about to run into a green car", "going to crash", "going to hit another vehicle",
    "approaching another vehicle too fast", "rushing towards another car",
)  # fmt: skip
IMMINENT_SENTENCES = (
    "{car} will crash very soon", "a crash is about to happen", "{car} will hit another car soon",
    "a collision with another vehicle is imminent", "{car} approaches a green car much too fast",
    "{car} is less than two seconds from a collision", "a green car is in the way of {car}",
)  # fmt: skip
TAILGATING_DOING = (
    "tailgating", "following too closely", "too close to the car ahead",
    "driving too close behind a green car", "keeping too small a gap", "leaving no gap",
    "not keeping a safe distance",
)  # fmt: skip
TAILGATING_SENTENCES = (
    "the gap of {car} is too small", "{car} follows another vehicle much too closely",
    "{car} has almost no headway", "the distance to the car ahead of {car} is too short",
)  # fmt: skip

LEFT = (
    "a green car is left of {car}", "{car} has a vehicle on its left", "the left lane is taken",
    "there is a car to the left of {car}", "somebody drives on the left of {car}",
)  # fmt: skip
RIGHT = (
    "a green car is right of {car}", "{car} has a vehicle on its right", "the right lane is taken",
    "there is a car to the right of {car}", "somebody drives on the right of {car}",
)  # fmt: skip
NOT_BESIDE = (
    "nobody is beside {car}", "there is room on both sides of {car}",
    "no vehicle is next to {car}", "left and right of {car} it is free",
)  # fmt: skip
BEHIND = (
    "a green car is close behind {car}", "{car} is followed closely",
    "another vehicle is right behind {car}", "somebody follows {car} at a short distance",
)  # fmt: skip
FREE_AHEAD = (
    "the road ahead of {car} is free", "nobody is ahead of {car}", "{car} has a clear road ahead",
    "there is no vehicle in front of {car}", "the way of {car} is clear",
)  # fmt: skip
EMPTY = (
    "the road is empty", "{car} is alone on the road", "there is hardly any traffic",
    "no other vehicles are near {car}", "an empty road with {car}",
)  # fmt: skip
BUSY = (
    "traffic is dense", "there are many green cars", "{car} drives among many other vehicles",
    "the road is crowded", "heavy traffic around {car}",
)  # fmt: skip
NEAREST = (
    "a green car is right next to {car}", "another vehicle almost touches {car}",
    "{car} is very near another car",
)  # fmt: skip
CLOSING_FAST = (
    "{car} approaches the car ahead fast", "{car} is much faster than the car ahead",
    "the gap ahead of {car} shrinks quickly", "the car ahead of {car} is much slower",
    "{car} is closing fast on the vehicle ahead",
)  # fmt: skip
CLOSING_SLOWLY = (
    "{car} slowly approaches the car ahead", "{car} is a little faster than the car ahead",
    "the gap ahead of {car} shrinks slowly", "{car} is gaining on the vehicle in front",
)  # fmt: skip
CLOSING_SPEEDS = (
    (3.0, 7.0, "five metres per second"), (7.0, 12.0, "ten metres per second"),
    (12.0, 99.0, "fifteen metres per second or more"),
)  # fmt: skip
CLOSING_AT = (
    "{car} closes in on the car ahead at {v}", "the gap ahead of {car} shrinks by {v}",
    "{car} is faster than the car ahead by {v}", "the closing speed of {car} is {v}",
)  # fmt: skip
FALLING_BACK = (
    "{car} is slower than the car ahead", "the gap ahead of {car} grows",
    "the car ahead pulls away from {car}", "{car} falls back behind the vehicle ahead",
)  # fmt: skip
FOLLOWING = (
    "{car} is as fast as the car ahead", "{car} follows the car ahead at the same speed",
    "the gap ahead of {car} stays the same",
)  # fmt: skip
GAPS = (
    (-99.0, 5.0, (
        "a green car is directly ahead of {car}", "{car} is a few metres behind another vehicle",
        "there are less than five metres to the car ahead", "the car ahead of {car} is very close",
    )),
    (5.0, 12.0, (
        "a green car is close ahead of {car}", "about ten metres lie before {car}",
        "the vehicle ahead of {car} is near",
    )),
    (12.0, 22.0, (
        "a green car is some way ahead of {car}", "the car ahead is about fifteen metres away",
        "there are about twenty metres between {car} and the car ahead",
    )),
    (22.0, 48.0, (
        "a green car is far ahead of {car}", "the vehicle ahead of {car} is thirty metres away",
        "there is a long gap ahead of {car}", "the car ahead is at a great distance",
    )),
)  # fmt: skip
SPEEDS = (
    (-99.0, 1.5, ("standing still", "standing", "not moving", "stopped")),
    (1.5, 8.0, ("driving slowly", "slow", "moving slowly", "creeping along")),
    (8.0, 17.0, ("driving at medium speed", "going at a moderate speed")),
    (17.0, 24.0, ("driving fast", "going at about twenty metres per second", "quick")),
    (24.0, 99.0, ("driving very fast", "speeding", "racing", "going at full speed")),
)
SECONDS = ((1.0, "one second"), (2.0, "two seconds"), (3.0, "three seconds"), (4.0, "four seconds"))
WITHIN_SECONDS = (
    "{car} would collide within {n}", "the time to collision of {car} is under {n}",
    "less than {n} to a collision", "a crash would happen in less than {n}",
)  # fmt: skip
BEYOND_SECONDS = (
    "{car} would not collide within {n}", "the time to collision of {car} is over {n}",
    "more than {n} to any collision", "no crash would happen within {n}",
)  # fmt: skip
# Words that no caption uses but prompts may: the tokenizer learns whole pieces of them.
DRIVING_WORDS = (
    "acceleration accelerate aggressive ambulance asphalt automobile barrier bicycle braking brake "
    "bumper bus careful cautious congestion corner crosswalk cyclist damage driver emergency "
    "fatal forward green yellow blue grey black white highway horn hazard hazardous injured "
    "junction kerb lane lorry manoeuvre maneuver merging motorcycle motorway obstacle overtaking "
    "overtake parked passenger pavement pedestrian people person photo picture image bird's-eye "
    "view from above rear-end reverse roadside rules safe safety sidewalk signal skid smooth spin "
    "steering stop street swerve swerving traffic jam truck turn turning vehicle violate wheel "
    "wrong-way yield zebra collision-free accident-free the of and or but no not with without "
    "will would could should may might is are was were has have had be been being into onto over "
    "under between behind before after during while when where which what it its their his her"
)


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """One of ``options``."""
    return options[int(rng.integers(len(options)))]


def car(rng: np.random.Generator) -> str:
    """A way to name the ego vehicle."""
    return pick(CARS, rng)


def listed(items: Sequence[str], last: str, rng: np.random.Generator) -> str:
    """``a, b, or c`` with or without the comma before the last; ``last`` is "or" or "and"."""
    if len(items) == 2:
        return f"{items[0]} {last} {items[1]}"
    comma = "," if rng.random() < 0.7 else ""
    return f"{', '.join(items[:-1])}{comma} {last} {items[-1]}"


def denied(items: Sequence[str], rng: np.random.Generator) -> str:
    """``neither a nor b`` or ``not a, not b and not c``; items that deny already are turned."""
    if len(items) == 2 or (len(items) > 2 and rng.random() < 0.3):
        return f"neither {items[0]} nor {items[1]}"
    turned = [item[4:] if item.startswith("not ") else f"not {item}" for item in items]
    return turned[0] if len(turned) == 1 else listed(turned, "and", rng)


def join(first: str, second: str, rng: np.random.Generator) -> str:
    """Two sentences as one."""
    return first + pick((" and ", ", and ", ", ", " while ", ". "), rng) + second
