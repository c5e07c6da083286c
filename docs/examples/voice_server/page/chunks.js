// Runs in the browser's audio thread: makes chunks of 512 samples at 16 kHz of whatever rate there is, as int16.

const RATE = 16000, CHUNK = 512, HALF_WIDTH = 16;

class Chunks extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(CHUNK);
    this.filled = 0;
    this.ratio = sampleRate / RATE;  // input samples for one of output
    this.reach = HALF_WIDTH * Math.max(1, this.ratio);
    this.heard = new Float32Array(0);
    this.next = 0;  // where in `heard` the next output sample lies
  }

  process(inputs) {
    const channels = inputs[0];
    if (!channels.length) return true;  // nothing is connected yet
    const mono = new Float32Array(channels[0].length);
    for (const channel of channels) {
      for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
    }
    if (sampleRate === RATE) for (const sample of mono) this.put(sample);
    else this.resample(mono);
    return true;
  }

  // A low-pass filter, a sinc in a Hann window, is read where the output samples lie between those of the input.
  resample(mono) {
    const all = new Float32Array(this.heard.length + mono.length);
    all.set(this.heard);
    all.set(mono, this.heard.length);
    const cut = Math.min(1, 1 / this.ratio);
    for (; this.next + this.reach < all.length; this.next += this.ratio) {
      let sum = 0;
      const last = Math.floor(this.next + this.reach);
      for (let i = Math.max(0, Math.ceil(this.next - this.reach)); i <= last; i++) {
        const x = i - this.next, phase = Math.PI * x * cut;
        const sinc = phase === 0 ? 1 : Math.sin(phase) / phase;
        sum += all[i] * sinc * cut * (0.5 + 0.5 * Math.cos(Math.PI * x / this.reach));
      }
      this.put(sum);
    }
    const past = Math.max(0, Math.floor(this.next - this.reach));
    this.heard = all.slice(past);
    this.next -= past;
  }

  put(sample) {
    this.chunk[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(32768 * sample)));
    if (this.filled === CHUNK) {
      this.port.postMessage(this.chunk.slice());
      this.filled = 0;
    }
  }
}

registerProcessor("chunks", Chunks);
