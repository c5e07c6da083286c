// Audio from the microphone or the recording goes to the server in chunks; what it answers moves the meter.

const SPEECH_FROM = 0.5, SPEECH_WHILE = 0.35, SHOWN = 312;  // chunks: ten seconds
const RESTARTS = 1012, AGAIN = 1000;  // the code of a server that ends, and milliseconds until it is tried again

const on = (name) => document.getElementById(name);
const history = [];
let running = null;  // what is to be stopped
let speaking = false;

function show(probability) {
  speaking = probability >= (speaking ? SPEECH_WHILE : SPEECH_FROM);
  on("meter").value = probability;
  on("probability").textContent = probability.toFixed(2);
  on("speech").textContent = speaking ? "speech" : "silence";
  on("speech").classList.toggle("on", speaking);
  history.push(probability);
  if (history.length > SHOWN) history.shift();
}

function draw() {
  const canvas = on("history"), scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d"), colours = getComputedStyle(canvas);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.strokeStyle = colours.borderTopColor;
  pen.setLineDash([4, 4]);
  pen.beginPath();
  pen.moveTo(0, height * (1 - SPEECH_FROM));
  pen.lineTo(width, height * (1 - SPEECH_FROM));
  pen.stroke();
  pen.setLineDash([]);
  pen.fillStyle = colours.color;
  const step = width / SHOWN;
  history.forEach((p, i) => pen.fillRect(Math.floor(width - (history.length - i) * step), height * (1 - p), Math.ceil(step) + 1, height * p));
  requestAnimationFrame(draw);
}

function say(text) {
  on("message").textContent = text;
}

// A socket that goes on with its session when the server is started anew.
class Line {
  constructor() {
    this.name = null;
    this.sent = [];  // when the chunks were sent that wait for an answer
    this.open();
  }

  open() {
    const query = this.name ? `?session=${encodeURIComponent(this.name)}` : "";
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/listen${query}`);
    this.socket.binaryType = "arraybuffer";
    this.sent = [];
    this.socket.onmessage = ({ data }) => {
      if (typeof data === "string") {
        const { session, chunks } = JSON.parse(data);
        this.name = session;
        on("session").textContent = session;
        on("chunks").textContent = chunks;
        say("");
      } else {
        show(new DataView(data).getFloat32(0, true));
        on("chunks").textContent = Number(on("chunks").textContent) + 1;
        on("delay").textContent = `${(performance.now() - this.sent.shift()).toFixed(0)} ms`;
      }
    };
    this.socket.onclose = ({ code, reason }) => {
      if (this.done) return;
      if (code !== RESTARTS && !(code === 1006 && this.retries)) {
        stop(`The server has closed the connection: ${reason || code}`);
        return;
      }
      if (code === RESTARTS) this.retries = 30;
      this.retries -= 1;
      say("The server restarts; this page will go on with its session.");
      this.timer = setTimeout(() => this.open(), AGAIN);
    };
  }

  send(chunk) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.sent.push(performance.now());
    this.socket.send(chunk);
  }

  close() {
    this.done = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}

async function start(connect) {
  stop("");
  on("microphone").disabled = on("recording").disabled = true;
  const context = new AudioContext({ sampleRate: 16000 });
  const mine = running = { context, line: null, release: () => {} };
  on("stop").disabled = false;
  try {
    await context.audioWorklet.addModule("chunks.js");
    const chunks = new AudioWorkletNode(context, "chunks", { numberOfOutputs: 0 });
    const release = await connect(context, chunks);
    if (running !== mine) return release();  // stopped meanwhile, and perhaps started again
    const line = new Line();
    Object.assign(mine, { release, line });
    chunks.port.onmessage = ({ data }) => line.send(data);
    await context.resume();
  } catch (error) {
    if (running === mine) stop(`${error.name}: ${error.message}`);
  }
}

function stop(text) {
  if (running) {
    running.release();
    running.line?.close();
    running.context.close();
    running = null;
  }
  on("microphone").disabled = on("recording").disabled = false;
  on("stop").disabled = true;
  say(text);
}

async function fromMicrophone(context, chunks) {
  if (!navigator.mediaDevices) throw new Error("a browser gives the microphone to localhost and to https only");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  context.createMediaStreamSource(stream).connect(chunks);
  return () => stream.getTracks().forEach((track) => track.stop());
}

async function fromRecording(context, chunks) {
  const response = await fetch("speech.wav");
  const source = context.createBufferSource();
  source.buffer = await context.decodeAudioData(await response.arrayBuffer());
  source.connect(chunks);
  source.connect(context.destination);
  source.onended = () => stop("");
  source.start();
  return () => { source.onended = null; source.stop(); };
}

on("microphone").onclick = () => start(fromMicrophone);
on("recording").onclick = () => start(fromRecording);
on("stop").onclick = () => stop("");
requestAnimationFrame(draw);
