// The browser's side of the live camera: shows a picture, sends frames up, and draws what comes back.

const WIDTH = 480; // pixels of the frames sent up; faces are looked for on fewer
const QUALITY = 0.7; // of their JPEG
const TALLEST = 520; // pixels of the page for the picture's height, so that a telephone's film is seen whole
const AHEAD = 2; // frames on their way at once: while the kernel looks at one, the next is taken and sent
const BUSY = 2000; // milliseconds without an answer until the kernel is called busy

const ERRORS = { NotAllowedError: "denied", NotFoundError: "no-camera", NotReadableError: "in-use" };

/** Why the camera could not be had, as a code of the page's reasons, or "source" and a sentence. */
function explain(error) {
  let code = ERRORS[error.name];
  const permitted = document.featurePolicy?.allowsFeature("camera") ?? true; // not every browser tells
  if (!permitted || window.location.protocol.startsWith("vscode")) code = "embedded";
  else if (!window.isSecureContext) code = "insecure";
  return code ? [code] : ["source", `The camera cannot be used: ${error.message}`];
}

/** A face as a box and a label over a picture of this size. */
const boxed = ({ box: [x, y, w, h], color, caption }, { width, height }, mirrored) => {
  const left = mirrored ? width - x - w : x; // the picture is mirrored, the text must not be
  const place = `left: ${(100 * left) / width}%; --top: ${(100 * y) / height}%; --color: ${color};`;
  return `<div class="box" style="${place} width: ${(100 * w) / width}%; height: ${(100 * h) / height}%"></div>
    <div class="caption" style="${place}">${caption}</div>`;
};

/** What is to be seen: the picture with its faces, the bars, the button, and what they say. */
class Screen {
  constructor(root) {
    this.root = root;
    const parts = ["picture", "video", "image", "overlay", "hint", "start", "status", "who", "crop"];
    for (const name of parts) this[name] = root.querySelector(`.${name}`);
  }

  reason = (code) => this.root.querySelector(`[data-reason="${code}"]`)?.textContent;

  begin(mirrored) {
    this.times = [];
    this.mirrored = mirrored;
    Object.assign(this.root.dataset, { frames: 0, latency: "" });
    this.picture.classList.toggle("mirrored", mirrored);
    this.clear(); // the last picture of a source that ended
  }

  /** Nothing is to be seen: no picture, no face. */
  clear() {
    this.image.removeAttribute("src");
    this.drawFaces([]);
    this.who.textContent = "";
  }

  show(faces, size, ms) {
    this.drawFaces(faces, size);
    const now = performance.now();
    this.times = [...this.times.slice(-30), now];
    const rate = (1000 * (this.times.length - 1)) / (now - this.times[0]) || 0;
    const frames = Number(this.root.dataset.frames) + 1;
    Object.assign(this.root.dataset, { frames, frameSize: `${size.width}x${size.height}`, latency: ms.toFixed(1) });
    this.status.textContent = `${rate.toFixed(0)} frames/s, ${ms.toFixed(0)} ms from picture to label`;
  }

  drawFaces(faces, { width, height } = { width: 4, height: 3 }) {
    const boxes = faces.map((face) => boxed(face, { width, height }, this.mirrored));
    this.overlay.innerHTML = boxes.reverse().join(""); // the largest face on top
    this.picture.style.aspectRatio = `${width} / ${height}`;
    this.picture.style.maxWidth = `${(TALLEST * width) / height}px`;
    Object.assign(this.root.dataset, { faces: faces.length, boxes: JSON.stringify(faces.map((face) => face.box)) });
    if (faces[0]?.crop) this.crop.src = `data:image/png;base64,${faces[0].crop}`;
    else this.crop.removeAttribute("src");
    this.who.textContent = ["no face", "one face"][faces.length] ?? `largest of ${faces.length} faces`;
    this.root.querySelectorAll(".bar").forEach((bar, index) => {
      const share = faces.length ? 100 * faces[0].probabilities[index] : 0;
      bar.querySelector(".fill").style.width = `${share.toFixed(1)}%`;
      bar.querySelector(".percent").textContent = faces.length ? `${Math.round(share)} %` : "";
    });
  }
}

/** A view of the model: its sessions, from Start to Stop, and what they send and receive. */
class View {
  id = null; // of the session: what belongs to another one is ignored, or to another view
  asked = null; // when the kernel was asked what it has not answered yet
  waiting = []; // when each frame on its way was taken
  capture = document.createElement("canvas");

  constructor(model, root) {
    this.model = model;
    this.screen = new Screen(root);
    this.screen.start.onclick = () => (this.id ? this.end("stopped") : this.start());
    this.end("idle");
  }

  setState(state, error = "", text = "") {
    const { root, start, status, hint } = this.screen;
    Object.assign(root.dataset, { state, error, source: this.model.get("source") });
    start.textContent = this.id ? "Stop" : "Start";
    status.textContent = state === "starting" ? "starting …" : "";
    hint.textContent = text;
  }

  say(message) {
    try {
      this.model.send({ view: this.id, ...message });
    } catch {
      this.end("error", "kernel-gone");
    }
  }

  /** Send a message that will be answered by one. */
  ask(message) {
    this.asked = performance.now();
    this.say(message);
  }

  // Starting and stopping

  async start() {
    const session = (this.id = Math.random().toString(36).slice(2));
    this.waiting = [];
    this.fromBrowser = this.model.get("source") === "browser";
    this.screen.begin(this.fromBrowser);
    this.setState("starting", "", this.fromBrowser ? "If the browser asks, allow the camera." : "");
    if (!this.fromBrowser) return this.ask({ kind: "start" });
    this.say({ kind: "stop" });
    if (!this.id) return; // for there is no kernel
    try {
      const size = { width: { ideal: 640 }, height: { ideal: 480 } };
      const opened = await navigator.mediaDevices.getUserMedia({ video: size, audio: false });
      if (session !== this.id) return opened.getTracks().forEach((track) => track.stop());
      this.stream = this.screen.video.srcObject = opened;
      opened.getVideoTracks()[0].onended = () => this.end("error", "source", "The camera was unplugged or taken away.");
      await this.screen.video.play();
      if (session === this.id) this.setState("running");
      this.sendFrames(session);
    } catch (error) {
      if (session === this.id) this.end("error", ...explain(error));
    }
  }

  changeSource() {
    const running = this.id;
    this.end(running ? "stopped" : "idle");
    if (running) this.start();
  }

  /** End the session and give the camera back, whichever side it is on. */
  end(state, error = "", text = this.screen.reason(error) ?? "Press Start.") {
    const session = this.id;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.screen.video.srcObject = this.asked = this.id = null;
    this.setState(state, error, text);
    this.screen.clear();
    if (session && !this.fromBrowser) this.say({ kind: "stop", view: session });
  }

  /** A source of the kernel's side is over; its last picture stays. */
  finish(text) {
    this.id = null;
    this.setState("stopped");
    this.screen.status.textContent = text;
    if (!/^\d+$/.test(this.model.get("source"))) this.screen.start.textContent = "Replay"; // unless it was a camera
  }

  checkSilence() {
    const silence = this.asked ? performance.now() - this.asked : 0;
    const opening = this.screen.root.dataset.state === "starting"; // a source of the kernel's, which may take long
    const limit = this.model.get("give_up_seconds");
    if (silence > limit * 1000 && !opening)
      this.end("error", "kernel-silent", `The kernel has not answered for ${limit} s, so the camera was released. ` +
        "When it is free, press Start; if it was restarted, run all cells above, then this one.");
    else if (silence > BUSY)
      this.screen.status.textContent = `the kernel is busy (${Math.floor(silence / 1000)} s without an answer)`;
  }

  // Frames up, and answers down

  /** Send each new frame of the browser's camera, unless enough of them are on their way. */
  sendFrames(session) {
    if (session !== this.id) return;
    const { video } = this.screen;
    video.requestVideoFrameCallback(() => this.sendFrames(session));
    if (this.waiting.length === AHEAD) return;
    const width = Math.min(WIDTH, video.videoWidth);
    const height = Math.round((width * video.videoHeight) / video.videoWidth);
    Object.assign(this.capture, { width, height }); // anew, for a telephone may be turned
    this.waiting.push(performance.now());
    this.capture.getContext("2d").drawImage(video, 0, 0, width, height);
    // toDataURL, because toBlob waits some 20 ms for the browser to be idle
    this.ask({ kind: "frame", data: this.capture.toDataURL("image/jpeg", QUALITY).split(",")[1] });
  }

  receive(message) {
    if (!this.id || (message.view ?? this.id) !== this.id) return;
    const taken = this.waiting.shift();
    this.asked = this.waiting[0] ?? null;
    if (message.kind === "stop") this.end("stopped");
    else if (message.kind === "end") this.finish(message.text);
    else if (message.kind === "error") this.end("error", "source", message.text);
    else if (message.data) this.showFrame(message);
    else this.screen.show(message.faces, this.capture, performance.now() - taken);
  }

  /** Show a frame of the kernel's camera or file when it is due, and ask for the next. */
  async showFrame({ data, age, early, faces, ...size }) {
    const session = this.id;
    await new Promise((resolve) => setTimeout(resolve, 1000 * early));
    if (session !== this.id) return;
    const { image, root } = this.screen;
    const due = performance.now();
    image.src = `data:image/jpeg;base64,${data}`;
    await image.decode().catch(() => {});
    if (session !== this.id) return;
    if (root.dataset.state !== "running") this.setState("running");
    this.screen.show(faces, size, 1000 * age + performance.now() - due);
    this.ask({ kind: "next" });
  }
}

function render({ model, el }) {
  el.innerHTML = model.get("page");
  const view = new View(model, el.querySelector(".fer-live"));
  const listeners = {
    "msg:custom": (message) => view.receive(message),
    "change:source": () => view.changeSource(),
    comm_live_update: () => view.id && view.end("error", "kernel-gone"), // a restarted kernel
  };
  Object.entries(listeners).forEach((each) => model.on(...each));
  const watch = setInterval(() => view.checkSilence(), 500);
  return () => {
    clearInterval(watch);
    if (view.id) view.end("stopped");
    Object.entries(listeners).forEach((each) => model.off(...each));
  };
}

export default { render };
