"""A reader of MIDI files of one track, written from the standard."""


def number(data):
    """A number in groups of seven bits, and the bytes behind it."""
    value = 0
    for i, byte in enumerate(data):
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, data[i + 1 :]


def read(path):
    """The notes of a file as (start, end, key), in quarter notes, and its microseconds to one."""
    data = path.read_bytes()
    assert data[:4] == b"MThd" and int.from_bytes(data[4:8], "big") == 6
    form, tracks, ticks = (int.from_bytes(data[i : i + 2], "big") for i in (8, 10, 12))
    assert (form, tracks) == (0, 1) and data[14:18] == b"MTrk"
    track = data[22:]
    assert len(track) == int.from_bytes(data[18:22], "big")
    time, struck, notes, beat = 0, {}, [], None
    while track:
        wait, track = number(track)
        time += wait
        if track[0] == 0xFF:
            kind, (size, rest) = track[1], number(track[2:])
            beat = int.from_bytes(rest[:size], "big") if kind == 0x51 else beat
            track = rest[size:]
            if kind == 0x2F:
                assert not track and not struck  # nothing is left sounding
            continue
        status, key, loudness = track[:3]
        track = track[3:]
        if status == 0x90 and loudness:
            assert key not in struck
            struck[key] = time
        else:
            notes.append((struck.pop(key) / ticks, time / ticks, key))
    return sorted(notes), beat
