// Where the caller's voice comes from: the microphone, or the shipped sample of speech.
// Both have `kind`, `track`, `muted`, `level()` (0..1, for a meter) and `stop()`.

const SAMPLE_URL = "/static/speech-sample.wav";
const METER_FLOOR_DB = -55;

// `trouble` is the name of a notice: see notices.js.
export class SourceError extends Error {
  constructor(trouble, cause) {
    super(trouble, { cause });
    this.trouble = trouble;
  }
}

const TROUBLE_OF = {
  NotAllowedError: "microphone-refused",
  SecurityError: "microphone-refused",
  NotFoundError: "microphone-missing",
  OverconstrainedError: "microphone-missing",
  NotReadableError: "microphone-busy",
  AbortError: "microphone-busy",
};

// Call it from a click: browsers start sound only on the user's word.
export function openSource(kind, context) {
  context.resume().catch(() => {});
  return kind === "microphone" ? Microphone.open(context) : Sample.open(context);
}

// Events: "ended" when the track, or the sample, has come to its end.
class Source extends EventTarget {
  constructor(kind, track, context, node) {
    super();
    this.kind = kind;
    this.track = track;
    this.meter = new AnalyserNode(context, { fftSize: 1024 });
    node.connect(this.meter);
    this.samples = new Float32Array(this.meter.fftSize);
  }

  get muted() {
    return !this.track.enabled;
  }

  set muted(muted) {
    this.track.enabled = !muted; // the browser then sends silence, and the session lives on
  }

  level() {
    if (this.muted) return 0;
    this.meter.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, x) => sum + x * x, 0) / this.samples.length;
    return Math.min(1, Math.max(0, 1 - (10 * Math.log10(power + 1e-12)) / METER_FLOOR_DB));
  }

  stop() {
    this.track.stop();
    this.meter.disconnect();
  }
}

class Microphone extends Source {
  static async open(context) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new SourceError(isSecureContext ? "unsupported" : "microphone-insecure");
    }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
      });
      return new Microphone(stream, context);
    } catch (error) {
      throw new SourceError(TROUBLE_OF[error.name] ?? "microphone-busy", error);
    }
  }

  constructor(stream, context) {
    const [track] = stream.getAudioTracks();
    const node = context.createMediaStreamSource(stream);
    super("microphone", track, context, node);
    track.addEventListener("ended", () => this.dispatchEvent(new Event("ended")));
  }
}

// A track that is silent until play(), and silent again after the last word.
class Sample extends Source {
  #context;
  #buffer;
  #output;
  #playing = null;

  static async open(context) {
    try {
      const response = await fetch(SAMPLE_URL);
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      return new Sample(context, await context.decodeAudioData(await response.arrayBuffer()));
    } catch (error) {
      throw new SourceError("sample-missing", error);
    }
  }

  constructor(context, buffer) {
    const output = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
    const gain = new GainNode(context);
    super("sample", output.stream.getAudioTracks()[0], context, gain);
    gain.connect(output);
    this.#context = context;
    this.#buffer = buffer;
    this.#output = gain;
  }

  get durationS() {
    return this.#buffer.duration;
  }

  get playing() {
    return this.#playing !== null;
  }

  // From the beginning, also when it is already playing.
  play() {
    this.#playing?.stop();
    const node = new AudioBufferSourceNode(this.#context, { buffer: this.#buffer });
    node.connect(this.#output);
    node.addEventListener("ended", () => {
      if (this.#playing !== node) return; // an earlier one, cut short
      this.#playing = null;
      this.dispatchEvent(new Event("ended"));
    });
    this.#playing = node;
    node.start();
  }

  stop() {
    const node = this.#playing;
    this.#playing = null;
    node?.stop();
    super.stop();
  }
}
