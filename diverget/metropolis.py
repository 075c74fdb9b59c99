"""DFLARE's Metropolis-Hastings over chains of relations: every patch keeps a chain and mutates a relation of it.

The operators are the relations of the space. A chain starts at neutral; each round one relation is chosen by the rank
of its success, its strengths and shape are moved, and the candidate becomes the chain when its fitness
H = difference / δ + novelty does not fall. Rules, p, δ and the bound of novelty are DFLARE's (`diverget.selection`).

What is ours:

    the mutation      a relation's own coordinates move in the unit cube; DFLARE stacks image mutations without limit.
    the limits        a candidate outside them is not shown: it is drawn back along its ray from neutral to where they
                      hold, which costs no query.
    the difference    of the two probabilities of the reference's class: DFLARE's where both models agree, and it
                      grows on where they do not.
    the class         a candidate on which the reference leaves its class of the source is not accepted: from there
                      nothing is revealed (with them half as many patches of Indian Pines were, measured).
    after a finding   the chain goes on from it, with its fitness forgotten; candidates must be milder than it.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from diverget.lockstep import Arena, Asked, Seen
from diverget.objectives import top1_gap
from diverget.outcome import Outcome
from diverget.rays import MOST_BARREN, along, milder, reach
from diverget.selection import NONE, from_the_last, moved, not_below, remembered


def metropolis(arena: Arena) -> Generator[Asked, Seen, None]:
    """The arm: one candidate a patch and round."""
    problem, space, members = arena.problem, arena.problem.space, arena.members
    n = len(arena)
    slot_of = np.array([slot for slot, _, _ in space.axes])
    chain = np.tile(space.neutral(), (n, 1))
    useful, tried = np.zeros((2, n, len(space.slots)), dtype=np.int64)
    last, best, mildest = np.full(n, NONE), np.zeros(n), np.full(n, np.inf)
    known = np.concatenate([problem.reference_source[members], problem.quantised_source[members]], axis=1)[None]
    barren = 0
    while arena.active.any() and barren < MOST_BARREN:
        act = np.flatnonzero(arena.active)
        relation = from_the_last(useful[act], tried[act], last[act], arena.rng)
        ends = moved(chain[act], slot_of == relation[:, None], arena.rng)
        dose = reach(problem, ends, members[act], most=milder(problem, ends, mildest[act]))
        u = along(space, ends, dose)
        # What decodes to no distortion, or to what the chain is, would tell nothing.
        values, held = space.decode(u), space.decode(chain[act])
        changed = np.any([v[name] != h[name] for v, h in zip(values, held, strict=True) for name in v], axis=0)
        some = changed & (dose > 0) & (space.severity(values) > 0)
        barren = 0 if some.any() else barren + 1
        if not some.any():
            continue
        act, u, relation = act[some], u[some], relation[some]
        seen = yield Asked(act, u=u)
        act, u, relation = act[seen.rows], u[seen.rows], relation[seen.rows]
        evidence = seen.evidence
        states = np.concatenate([evidence.reference, evidence.quantised], axis=1)
        novel, own = remembered(known[:, act], states)
        if len(own) > len(known):
            known = np.concatenate([known, np.full_like(known, np.inf)])
        known[:, act] = own
        found = seen.outcomes == Outcome.REVEALED
        kept = evidence.reference.argmax(axis=1) == arena.classes[act]
        higher, merit = not_below(top1_gap(evidence), novel, best[act])
        accepted = (higher & kept & evidence.within) | found
        tried[act, relation] += 1
        useful[act, relation] += accepted
        best[act] = np.where(found, 0.0, np.where(accepted, merit, best[act]))
        last[act] = np.where(accepted, relation, last[act])
        mildest[act[found]] = np.minimum(mildest[act[found]], evidence.severity[found])
        chain[act[accepted]] = u[accepted]
