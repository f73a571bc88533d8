"""Broken variants of the core: one place of its source, as it is, and as it must not be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    name: str
    old: str
    new: str


MUTANTS = [
    # The follower
    Mutant("merges without an anchor", "batch.first_seq <= top + 1 <=", "top + 1 <="),
    Mutant("accepts a page behind a hole", "if reached != window.top + len(events):", "if False:"),
    Mutant(
        "compares no epoch of live batches",
        "current = batch.epoch == mine.epoch",
        "current = True",
    ),
    Mutant("compares no lineage of a page", "theirs.lineage.contains(self._top_id())", "True"),
    Mutant(
        "goes on with the feed that was interrupted",
        "            case Interrupted():\n                self.subscribed(now)",
        "            case Interrupted():\n                pass",
    ),
    Mutant(
        "does not read again when the feed is confirmed",
        "        self._attempts = 0  # it is back: no need to go on with the pause\n"
        "        self._suspect(now)",
        "        self._attempts = 0",
    ),
    Mutant(
        "forgets what was told during a read",
        "for batch in sorted(pending, key=_first_seq):",
        "for batch in ():",
    ),
    Mutant(
        "believes an end before the last event",
        " and mine.growing and sentinel.last_seq == self._window.top:",
        " and mine.growing:",
    ),
    Mutant(
        "does not look into a hole",
        "        else:\n            self._suspect(now)\n\n    def _change",
        "        else:\n            pass\n\n    def _change",
    ),
    Mutant(
        "never checks",
        "        return on_tick(now + interval, interval)\n",
        "        return math.inf\n",
    ),
    Mutant(
        "begins its window one too late",
        "first = self.top + 1 - len(self.events)",
        "first = self.top + 2 - len(self.events)",
    ),
    Mutant("wakes nobody whom the window passes over", "self._awaited = True", "pass"),
    # The log
    Mutant(
        "cuts a page one event too late",
        "skip = max(0, after + 1 - batch.first_seq)",
        "skip = max(0, after + 2 - batch.first_seq)",
    ),
    Mutant(
        "counts from one too low after trimming",
        "return self.batches[0].first_seq if",
        "return self.batches[0].first_seq - 1 if",
    ),
    Mutant(
        "appends what is repeated twice",
        "append.messages[before.last_seq + 1 - append.first_seq :]",
        "append.messages",
    ),
    Mutant("appends behind a hole", "append.first_seq > sentinel.last_seq + 1 or ", ""),
    Mutant(
        "leaves an earlier log behind",
        "clear=not after.lineage.same_log(sentinel.lineage)",
        "clear=False",
    ),
    # The sentinel
    Mutant(
        "ignores the fence", "fenced = sentinel.known and epoch != sentinel.epoch", "fenced = False"
    ),
    Mutant("ends before the last event", "if sentinel.last_seq < change.last_seq:", "if False:"),
    Mutant(
        "never observes a lease", "        and now >= sentinel.lease_until", "        and False"
    ),
    Mutant(
        "observes a lease too early",
        "        and now >= sentinel.lease_until",
        "        and now >= sentinel.lease_until - 1",
    ),
    Mutant("takes an outage for a death", "        and connected_for >= sentinel.lease\n", ""),
    Mutant(
        "lets a claim take what is produced",
        "    Input.CLAIM: Refusal.EXISTS,\n    Input.APPEND",
        "    Input.CLAIM: State.ACTIVE,\n    Input.APPEND",
    ),
    Mutant(
        "lets a lost stream be taken over unasked",
        "if sentinel.state is State.LOST and claim.on_lost is Takeover.RESTART:",
        "if sentinel.state is State.LOST:",
    ),
    Mutant("lets any retry restart", "if claim.replaces == sentinel.epoch:", "if True:"),
    Mutant(
        "recognises no repeated claim",
        "        case Claim():\n            return sentinel.epoch == change.epoch\n",
        "",
    ),
    Mutant(
        "recognises no repeated end",
        "            return sentinel.epoch == change.epoch and sentinel.outcome is change.outcome",
        "            return False",
    ),
    Mutant(
        "lets a takeover begin one too low",
        "grown(claim.epoch, sentinel.last_seq + 1)",
        "grown(claim.epoch, sentinel.last_seq)",
    ),
    Mutant("leaves no tombstone", "return _deleted(sentinel, now)", "return ABSENT"),
    Mutant(
        "appends do not renew",
        "characters, until, until + _keep(sentinel))",
        "characters, sentinel.lease_until, until + _keep(sentinel))",
    ),
    # The producer
    Mutant(
        "does not hear that the store fell behind",
        "self._run.acknowledge(last_seq)",
        "self._run.acknowledge(max(last_seq, self._run.acked))",
    ),
    Mutant("appends one too many", "self._run.acked + 1, messages", "self._run.acked, messages"),
    Mutant("never renews", "return self._renewals.at if renews else None", "return None"),
    Mutant(
        "finishes before all is appended",
        "case Phase.PRODUCING if self._run.unacked:",
        "case Phase.PRODUCING if self._run.unacked and self.outcome is None:",
    ),
    Mutant(
        "never restores",
        "case Phase.PRODUCING if self._store_forgot:",
        "case Phase.PRODUCING if False:",
    ),
    Mutant(
        "forgets whom it restores",
        "            self._lineage,\n            last_seq=self._run.before",
        "            Lineage.starting(claim.epoch),\n            last_seq=self._run.before",
    ),
    Mutant(
        "begins at one after a takeover",
        "self._run.begin_after(sentinel.last_seq, sentinel.characters)",
        "self._run.begin_after(0, 0)",
    ),
    # The cursor
    Mutant("tells of no gap", "return (Gap(id, reason),)", "return ()"),
    Mutant(
        "ends at once",
        "if not there:\n            self.deadline = now\n        elif sentinel",
        "if sentinel",
    ),
    Mutant(
        "compares no epoch of its own place",
        "reset = None if sentinel.lineage.contains(self.id) else ResetReason.RESTARTED",
        "reset = None",
    ),
    Mutant(
        "compares no epoch of a position",
        "                if not lineage.contains(id):",
        "                if False:",
    ),
    Mutant(
        "waits for ever for what is ahead",
        "return self._restart(ResetReason.AHEAD) if confirmed else self._ask_log(now)",
        "return ()",
    ),
    Mutant(
        "waits for no lost tail",
        "        if sentinel.outcome is None and not self._waited(now):\n            return ()\n",
        "",
    ),
    Mutant("tells of an end again", "self.finished = end and is_end", "self.finished = False"),
    Mutant(
        "passes over characters of one event alone",
        "self._target - self._passed\n",
        "self._target\n",
    ),
    # The wire
    Mutant(
        "decodes U+2028 as a newline",
        'lines = text.split("\\n")',
        'lines = re.split("[\\n\\u2028]", text)',
    ),
    Mutant("lets LF through", 'data = data.replace("\\n", "\\ndata: ")', "pass"),
    Mutant("lets CR through", 'data = data.replace("\\r\\n", "\\n").replace("\\r", "\\n")', "pass"),
    Mutant(
        "frames an end like any event",
        "place = str(After(id, end=True))",
        "place = str(id)",
    ),
    Mutant("completes what failed", "case End(outcome=Outcome.DONE):", "case End():"),
    Mutant("drops types on the feed", "            batch.types,\n", "            {},\n"),
    Mutant("reads no end from an id", "end=found[3] is not None", "end=False"),
    Mutant(
        "counts an epoch from one too late",
        "            if first <= seq:",
        "            if first < seq:",
    ),
]

CHANNEL_MUTANTS = [
    Mutant(
        "goes on when the store is another one",
        "return sentinel.state is State.OPEN and sentinel.store == publish.store",
        "return sentinel.state is State.OPEN",
    ),
    Mutant(
        "lets what comes after a failover begin one too low",
        "grown(publish.epoch, skipped)",
        "grown(publish.epoch, skipped - 1)",
    ),
    Mutant(
        "begins anew under an epoch that was used",
        "fenced = epoch == sentinel.epoch or sentinel.lineage.knows(epoch)",
        "fenced = False",
    ),
    Mutant(
        "opens no channel that was deleted",
        "    if sentinel.state is not State.OPEN:\n        return True\n    return",
        "    if sentinel.state is State.ABSENT:\n        return True\n    return",
    ),
    Mutant("looks up no keys", "held = NOTHING if clear else published", "held = NOTHING"),
    Mutant(
        "publishes twice what comes twice in one change",
        "fresh.setdefault(each.key, each)",
        "fresh[f'{each.key}{len(fresh)}'] = each",
    ),
    Mutant(
        "names what is repeated by the epoch of today",
        "after.lineage.id_at(seqs[each.key])",
        "EventId(after.epoch, seqs[each.key])",
    ),
    Mutant(
        "goes on with a channel that has expired",
        "return Effect(after, batch, clear, ids,",
        "return Effect(after, batch, False, ids,",
    ),
    Mutant("forgets no key", "            self._forget_keys()\n", ""),
    Mutant(
        "forgets for whom it was",
        "{index: sorted(names) for index, names in batch.to.items()}",
        "{}",
    ),
    Mutant(
        "forgets which store it was",
        "            sentinel.metadata,\n            sentinel.store,",
        '            sentinel.metadata,\n            "",',
    ),
]
"""Of what streams have nothing of: the channels' machine alone is to find them."""


SIMULATED_CHANNEL_MUTANTS = [
    Mutant(
        "makes two attempts at once",
        "if self._sent or not self._waiting or now",
        "if not self._waiting or now",
    ),
    Mutant(
        "gives up what is not overdue",
        "while overdue < self._sent and now >=",
        "while overdue < self._sent or now >=",
    ),
    Mutant(
        "attempts the newest first",
        "publications = tuple(self._waiting[index].publication for index in range(self._sent))",
        "publications = tuple(self._waiting[-index].publication for index in range(self._sent))",
    ),
    Mutant(
        "makes no attempt again",
        "return math.inf if self._sent or not self._waiting else self._lane.at",
        "return math.inf",
    ),
    Mutant(
        "lets others overtake what had no answer",
        "        overdue = 0\n",
        "        self._waiting.rotate(-self._sent)\n        overdue = 0\n",
    ),
    Mutant(
        "begins a channel to come behind its first events",
        "                self._position = Beginning()\n                self.after = 0\n",
        "                pass\n",
    ),
    Mutant(
        "ends a channel that was forgotten",
        "            if self._reader is not None:\n                return self._await_first()",
        "            if self._reader is not None and self.id is None:\n"
        "                return self._await_first()",
    ),
    Mutant(
        "shows everybody everything",
        "return event.to is None or not event.to.isdisjoint(recipients)",
        "return True",
    ),
]
"""Of what the channels' machine plays no part of: their worlds alone are to find them."""
