"""What a store keeps and a live feed carries reads back as it was, or not at all."""

import dataclasses
import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_core import (
    Batch,
    ForeignData,
    Lineage,
    Message,
    Retention,
    Sentinel,
    SSEFraming,
    State,
    decode_batch,
    decode_sentinel,
    encode_batch,
    encode_sentinel,
    page_of,
)
from resumable_core._codec import VERSION
from resumable_core.testing import (
    append,
    epochs,
    lineages,
    logs,
    messages,
    notices,
    retentions,
    sentinels,
    texts,
)
from resumable_core.testing.machines.channel import audiences

numbers = st.integers(0, 2**53 - 1)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts() | st.just("\ud800"),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(texts(), parts, max_size=4),
    max_leaves=8,
)


@st.composite
def batches(draw):
    """Draw a batch, with numbers as large as they may be."""
    epoch = draw(epochs())
    drawn = draw(st.lists(messages(), min_size=1, max_size=5))
    first_seq = draw(st.integers(1, 100) | st.just(2**53 - 1 - len(drawn)))
    return Batch(
        epoch,
        first_seq,
        tuple(each.data for each in drawn),
        *(draw(numbers) for _ in range(3)),
        draw(st.floats(0, 1e10)),
        {index: each.type for index, each in enumerate(drawn) if each.type is not None},
        {index: to for index in range(len(drawn)) if (to := draw(audiences())) is not None},
    )


def every_sentinel():
    """Draw a sentinel, likely or not."""
    unlikely = st.builds(
        Sentinel,
        st.sampled_from(State),
        epochs(),
        lineages(),
        numbers,
        numbers,
        st.floats(0, 1e6),
        retention=retentions() | st.just(Retention()),
        error=notices(),
        metadata=st.dictionaries(texts(), anything, max_size=3),
        store=texts(),
    )
    return unlikely | sentinels().map(lambda drawn: drawn[0])


def reads(record):
    """Return a sentinel that was read back, with deadlines that tell nothing."""
    return decode_sentinel(record, lease_until=0.0, expires_at=math.inf)


# There and back


@given(batches())
def test_a_batch_comes_back_as_it_was(batch):
    """Law 11: text, bytes and types, whatever they contain."""
    assert decode_batch(encode_batch(batch)) == batch


@given(logs())
def test_every_batch_of_a_log_comes_back(drawn):
    log, _ = drawn
    assert [decode_batch(encode_batch(batch)) for batch in log.batches] == log.batches


@given(every_sentinel(), st.floats(0, 1e10), st.floats(0, 1e10))
@example(Sentinel(State.STOPPED, "a", Lineage.starting("a"), error="\ud800"), 0.0, 0.0)
@example(Sentinel(State.ACTIVE, "a", Lineage.starting("a"), metadata={"\ud800": 1}), 0.0, 0.0)
@example(Sentinel(State.DELETED, "a"), 0.0, 1.0)
def test_a_sentinel_comes_back_as_it_was(sentinel, lease_until, expires_at):
    """But for its deadlines, which are the store's to keep."""
    back = decode_sentinel(
        encode_sentinel(sentinel), lease_until=lease_until, expires_at=expires_at
    )
    expected = dataclasses.replace(sentinel, lease_until=lease_until, expires_at=expires_at)
    assert repr(back) == repr(expected)  # metadata may hold NaN, which does not equal itself


@given(batches(), every_sentinel())
def test_a_record_is_text(batch, sentinel):
    """Clients that decode what they receive can carry it: it is UTF-8, whatever it holds."""
    text = encode_batch(batch).decode()
    assert decode_batch(text.encode()) == batch
    text = encode_sentinel(sentinel).decode()
    assert repr(reads(text.encode())) == repr(reads(encode_sentinel(sentinel)))


# What it costs


def batch_of(*data):
    """Return a batch of the epoch a, as the first in its log."""
    change = append("a", 1, [Message(each) for each in data])
    size = sum(message.size for message in change.messages)
    return Batch("a", 1, data, size, change.characters, 0, 1_700_000_000.123456)


@given(st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N", "So"])), min_size=1))
def test_an_event_costs_its_text_and_three_characters(data):
    """Law 8: what the docs reckon with for the store's memory."""
    empty = len(encode_batch(batch_of("")))
    batch = batch_of(*data)
    digits = len(f"{batch.size}{batch.characters}") - len("00")
    assert len(encode_batch(batch)) <= empty + digits + batch.size + 3 * len(data) - len('"",') + 1


def test_bytes_that_are_ascii_cost_what_text_costs():
    text = "The quick brown fox jumps over the lazy dog. " * 10
    as_bytes = len(encode_batch(batch_of(text.encode())))
    assert as_bytes <= len(encode_batch(batch_of(text))) + len("0")


# What is not ours

BATCH = json.loads(encode_batch(batch_of("one", b"\xff", "three")))
SENTINEL = json.loads(
    encode_sentinel(
        Sentinel(
            State.LOST,
            "b",
            Lineage.starting("a").grown("b", 3),
            4,
            12,
            15.0,
            retention=Retention(age=60.0),
            error="gone",
            metadata={"user": 1},
        )
    )
)


def is_usable(batch):
    """Use a batch as followers and consumers do; say whether it comes back as it is."""
    assert batch.count == batch.last_seq - batch.first_seq + 1 > 0
    page_of([batch], batch.first_seq, 10)
    for event in batch.events:
        SSEFraming().frame([event])
    return repr(decode_batch(encode_batch(batch))) == repr(batch)


@st.composite
def spoilt(draw, record):
    """Draw a record of ours in which one thing, however deep, is something else."""
    record = json.loads(json.dumps(record))
    part = record
    while True:
        places = list(part) if isinstance(part, dict) else range(len(part))
        place = draw(st.sampled_from(places))
        inner = part[place]
        if not (isinstance(inner, list | dict) and inner and draw(st.booleans())):
            break
        part = inner
    change = draw(st.sampled_from(["replace", "remove", "double"]))
    if change == "replace":
        part[place] = draw(anything)
    elif change == "remove":
        del part[place]
    elif isinstance(part, list):
        part.insert(place, inner)
    return json.dumps(record).encode()


bytes_of_no_record = st.binary() | anything.map(lambda value: json.dumps(value).encode())
DEEP = b"[" * 100_000
LONG = b"1" * 10_000


@given(bytes_of_no_record | spoilt(BATCH))
@example(b"")
@example(DEEP)
@example(LONG)
@example(encode_sentinel(Sentinel(State.DELETED, "a")))
@example(b'[1,"a",1,0,0,0,0,[],{},[],{}]')
@example(b'[1,"a",1,0,0,0,0,"text",{},[],{}]')
@example(b'[1,"a",1,0,0,0,0,[1],{},[],{}]')
@example(b'[1,"a",1,0,0,0,0,["\\ud800"],{},[],{}]')
@example(b'[1,"a",1,0,0,0,0,["a"],{"0":1},[],{}]')
@example(b'[1,"a",1,0,0,0,0,["a"],{},[0,0],{}]')
@example(b'[1,"\\n",1,0,0,0,0,["a"],{},[],{}]')
@example(b'[1,"a",1,0,0,0,0,["a"],{"0":"\\n"},[],{}]')
@example(b'[1,"a",0,0,0,0,0,["a"],{},[],{}]')
@example(b'[1,"a",1e999,0,0,0,0,["a"],{},[],{}]')
@example(b'[1,"a",1,0,0,0,0,["a"],{},[],{"0":[]}]')
@example(b'[1,"a",1,0,0,0,0,["a"],{},[],{"0":["\\n"]}]')
@example(b'[1,"a",1,0,0,0,0,["a"],{},[],{"0":[1]}]')
def test_what_is_no_batch_is_refused(record):
    """It is foreign data, never another error, and never something that fails later."""
    try:
        batch = decode_batch(record)
    except ForeignData:
        return
    assert is_usable(batch)


@given(bytes_of_no_record | spoilt(SENTINEL))
@example(b"")
@example(DEEP)
@example(LONG)
@example(encode_batch(batch_of("one")))
@example(json.dumps([1, "done", "a", [], *SENTINEL[4:]]).encode())
def test_what_is_no_sentinel_is_refused(record):
    """It is foreign data, never another error, and never something that fails later."""
    try:
        sentinel = reads(record)
    except ForeignData:
        return
    assert repr(reads(encode_sentinel(sentinel))) == repr(sentinel)
    if sentinel.known:
        assert sentinel.lineage.contains(sentinel.lineage.id_at(sentinel.last_seq))


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None, 1.5, [1]])
def test_another_version_is_refused(version):
    with pytest.raises(ForeignData, match=f"version {VERSION}"):
        decode_batch(json.dumps([version, *BATCH[1:]]).encode())
    with pytest.raises(ForeignData, match=f"version {VERSION}"):
        reads(json.dumps([version, *SENTINEL[1:]]).encode())


def test_a_record_ends_where_it_ends():
    with pytest.raises(ForeignData):
        decode_batch(json.dumps(BATCH).encode() + b"]")
    with pytest.raises(ForeignData):
        reads(json.dumps(SENTINEL).encode() + b" ")


def test_only_the_beginning_of_foreign_data_is_shown():
    with pytest.raises(ForeignData) as refused:
        decode_batch(b"x" * 10_000)
    assert len(str(refused.value)) < 200
