#!/usr/bin/env python3
"""Writes the recordings beside it as seeds of libFuzzer's programs: seeds.py guard|bodies|hello|http DIR

The guard's fuzzer knows two processes by fixed ids and one peer by a fixed name, and begins with a choice of session in
three bytes; frames are rewritten accordingly.
"""
import pathlib
import sys

FIRST_BODY, LAST_BODY = 0xC9, 0xDE
# Of the fuzzer's kinds of sessions: by the role of the dialler, and the one it dials.
KINDS = {"n-r": 0, "r-r": 3, "s-r": 4, "g-n": 6, "g-s": 6, "g-r": 7}


def node(number):
    return bytes([1, 0, 0, 0, number, number]) + bytes(18) + bytes([1])


def frames(file):
    for line in file.read_text().splitlines():
        _, way, kind, text = line.split()
        yield way, kind, bytes.fromhex(text)


def guard_seeds(file):
    who = file.stem
    kind = KINDS.get(f"{who[0]}-{who[-2]}")
    if kind is None:
        return
    said = [frame for way, what, frame in frames(file) if what == "basp" and way == ">"]
    heard = [frame for way, what, frame in frames(file) if what == "basp" and way == "<"]
    # Handshakes carry the ids: the dialler's is all of its payload, the listener's the beginning of it.
    peer, own = said[0][32:57], heard[0][32:57]

    def known(frame, request_to=8):
        frame = bytearray(frame.replace(peer, node(2)).replace(own, node(1)))
        if frame[0] == 2 and not frame[8] & 0x80:
            frame[24:32] = request_to.to_bytes(8, "big")
        return bytes(frame)

    yield bytes([kind, 0, 0]) + b"".join(known(frame) for frame in said)
    for frame in said[1:]:
        yield bytes([kind, 0, 1]) + known(frame)


def body_seeds(file):
    for _, kind, frame in frames(file):
        if kind != "basp" or frame[0] != 2 or len(frame) < 37 or frame[33] != 1:
            continue
        number = int.from_bytes(frame[34:36], "big")
        if not FIRST_BODY <= number <= LAST_BODY:
            continue
        at = 36
        while frame[at] & 0x80:
            at += 1
        yield bytes([number - FIRST_BODY]) + frame[at + 1 :]


def hello_seeds(file):
    for _, kind, frame in frames(file):
        if kind == "hello":
            yield frame


def http_seeds():
    """What our examples say, and the shapes of requests."""
    for file in sorted((pathlib.Path(__file__).parents[4] / "config/examples/apps").glob("*.toml")):
        yield b"\x02" + file.read_bytes()
    for text in ("\0GET /v1/nodes/n%31?x=y", "\0POST /v1/apps/a/invoke", "\1" + '{"name":"a","replicas":2,"actor":{"type":"echo"}}',
                 "\3" + '{"token":"astra1.x.y","csr":"-----BEGIN CERTIFICATE REQUEST-----"}',
                 "\5astra://prod/n17?role=node&role=gateway&app=ocr-*"):
        yield text.encode()


def main():
    if sys.argv[1] == "http":
        for number, seed in enumerate(http_seeds()):
            (pathlib.Path(sys.argv[2]) / f"seed-{number}").write_bytes(seed)
        return
    make = {"guard": guard_seeds, "bodies": body_seeds, "hello": hello_seeds}.get(sys.argv[1])
    if make is None:
        return
    out = pathlib.Path(sys.argv[2])
    for file in sorted(pathlib.Path(__file__).parent.glob("*.txt")):
        for number, seed in enumerate(make(file)):
            (out / f"captured-{file.stem}-{number}").write_bytes(seed)


if __name__ == "__main__":
    main()
