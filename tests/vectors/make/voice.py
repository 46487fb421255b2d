# Makes ../media/{speech,music}.opus with opusenc, and ../media/voice.json with what opusdec hears in them (both of
# opus-tools, with libopus). The waveform is that of the definition: 64 means of absolute values, in hundredths of the
# largest. Needs opus-tools in the path: `python3 voice.py`.
import array, json, math, pathlib, subprocess, wave

here = pathlib.Path(__file__).parent.parent / "media"


def tone(rate, seconds, loudness):
    """Three tones under a slow swell."""
    return array.array("h", (
        int(9000 * loudness(i / rate / seconds) * sum(math.sin(2 * math.pi * f * i / rate) for f in (180, 430, 1100)))
        for i in range(int(rate * seconds))
    ))


def make(name, rate, seconds, loudness, options):
    wav, opus = f"/tmp/voice-{name}.wav", here / f"{name}.opus"
    with wave.open(wav, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(tone(rate, seconds, loudness).tobytes())
    subprocess.run(["opusenc", "--quiet", "--discard-comments", "--padding", "0", *options, wav, opus], check=True)
    subprocess.run(["opusdec", "--quiet", "--no-dither", "--rate", "48000", opus, wav], check=True)
    with wave.open(wav) as file:
        assert file.getframerate() == 48000 and file.getnchannels() == 1
        heard = array.array("h", file.readframes(file.getnframes()))
    part = len(heard) // 64
    means = [sum(map(abs, heard[i * part:(i + 1) * part])) / part for i in range(64)]
    waveform = [int(mean / max(means) * 100) for mean in means]
    return {"file": opus.name, "samples": len(heard), "waveform": waveform}


files = [
    make("speech", 16000, 2.5, lambda t: t, ["--speech", "--bitrate", "10", "--framesize", "60"]),
    make("music", 48000, 0.7, lambda t: 1 - abs(2 * t - 1), ["--music", "--bitrate", "32"]),
]
origin = "opus-tools: opusenc makes the files; the waveform is that of what opusdec hears in them, at 48 kHz."
(here / "voice.json").write_text(json.dumps({"origin": origin, "files": files}) + "\n")
