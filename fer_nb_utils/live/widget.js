// The browser's side of the live camera: shows a picture, sends frames up one at a time, and draws what comes back.

const WIDTH = 480; // pixels of the frames sent up; faces are looked for on fewer
const QUALITY = 0.7; // of their JPEG
const OVERLAY = 1280; // pixels of the overlay's width, whatever the frame's
const TALLEST = 520; // pixels of the page for the picture's height, so that a telephone's film is seen whole
const BUSY = 2000; // milliseconds without an answer until the kernel is called busy
const HINTS = { idle: "Press Start.", stopped: "Press Start.", starting: "If the browser asks, allow the camera." };

const REASONS = {
  embedded: "The page round this notebook gives it no camera. Open the notebook in a tab of its own (in VS Code: in " +
    "JupyterLab), or choose the kernel's camera or a file as source.",
  insecure: "Browsers give the camera to secure pages only. Open this page by https, or forward the port with " +
    "ssh -L 8888:localhost:8888 HOST and open http://localhost:8888.",
  denied: "The camera was not allowed. Allow it by the symbol beside the page's address, then press Start.",
  "no-camera": "There is no camera on this computer. Plug one in, or choose another source, such as the demo clip.",
  "in-use": "The camera is in use by another program. Close that program, then press Start.",
};
const ERRORS = { NotAllowedError: "denied", NotFoundError: "no-camera", NotReadableError: "in-use" };

/** Why the camera could not be had, as a code and a sentence. */
function explain(error) {
  let code = ERRORS[error.name];
  const permitted = document.featurePolicy?.allowsFeature("camera") ?? true; // not every browser tells
  if (!permitted || window.location.protocol.startsWith("vscode")) code = "embedded";
  else if (!window.isSecureContext) code = "insecure";
  return code ? [code, REASONS[code]] : ["source", `The camera cannot be used: ${error.message}`];
}

const page = (names, colors) => `
  <div class="fer-live">
    <div class="left">
      <div class="picture" role="img" aria-label="the picture, with a box and a label round every face">
        <video class="video" muted playsinline></video><img class="image">
        <canvas class="overlay"></canvas><div class="hint"></div>
      </div>
      <div class="line"><button class="start">Start</button><span class="status" role="status"></span></div>
    </div>
    <div class="right">
      <div class="who"></div><img class="crop" alt="the crop that the network sees">
      ${names.map((name) => `<div class="bar" data-expression="${name}"><span class="name">${name}</span>
        <span class="track"><span class="fill" style="background: ${colors[name]}"></span></span>
        <span class="percent"></span></div>`).join("")}
    </div>
  </div>`;
const PARTS = ["picture", "video", "image", "overlay", "hint", "start", "status", "who", "crop"];

class View {
  constructor(model, el) {
    this.model = model;
    el.innerHTML = page(model.get("classes"), model.get("colors"));
    this.root = el.querySelector(".fer-live");
    this.part = Object.fromEntries(PARTS.map((name) => [name, this.root.querySelector(`.${name}`)]));
    this.part.start.onclick = () => (this.running ? this.end("stopped") : this.start());
    this.capture = document.createElement("canvas");
    this.listeners = {
      "msg:custom": (message) => (message.view ?? this.id) === this.id && this.receive(message),
      "change:source": () => this.changeSource(),
      comm_live_update: () => this.running && this.lose(), // a restarted kernel
    };
    Object.entries(this.listeners).forEach((each) => model.on(...each));
    this.watch = setInterval(() => this.checkSilence(), 500);
    this.end("idle");
  }

  setState(state, error = "", text = "") {
    this.running = state === "starting" || state === "running";
    Object.assign(this.root.dataset, { state, error });
    this.part.start.textContent = this.running ? "Stop" : "Start";
    this.part.status.textContent = state === "starting" ? "starting …" : "";
    this.part.hint.textContent = text || (state === "starting" && !this.fromBrowser ? "" : HINTS[state] || "");
  }

  /** Nothing is to be seen: no picture, no face. */
  clear() {
    this.part.image.removeAttribute("src");
    Object.assign(this.root.dataset, { faces: 0, boxes: "[]" });
    this.drawFaces([]);
    this.part.who.textContent = "";
  }

  /** Send a message up; false when there is no kernel to hear it. */
  say(message) {
    try {
      this.model.send({ ...message, view: this.id });
      return true;
    } catch {
      this.lose();
      return false;
    }
  }

  /** Send a message that will be answered by one. */
  ask(message) {
    this.asked = performance.now();
    this.say(message);
  }

  // Starting and stopping

  async start() {
    Object.assign(this.root.dataset, { frames: 0, latency: "" });
    this.id = Math.random().toString(36).slice(2); // what belongs to another session is ignored, or another view's
    this.times = [];
    this.fromBrowser = this.model.get("source") === "browser";
    this.clear(); // the last picture of a source that ended
    this.setState("starting");
    this.part.picture.classList.toggle("mirrored", this.fromBrowser);
    if (!this.fromBrowser) this.ask({ kind: "start" });
    else if (this.say({ kind: "stop" })) await this.startCamera(this.id);
  }

  changeSource() {
    if (!this.running) return this.end("idle");
    this.end("stopped");
    this.start();
  }

  async startCamera(session) {
    const current = () => session === this.id && this.running;
    try {
      const size = { width: { ideal: 640 }, height: { ideal: 480 } };
      const stream = await navigator.mediaDevices.getUserMedia({ video: size, audio: false });
      if (!current()) return stream.getTracks().forEach((track) => track.stop());
      this.stream = stream;
      stream.getVideoTracks()[0].onended = () => this.end("error", "source", "The camera was unplugged or taken away.");
      this.part.video.srcObject = stream;
      await this.part.video.play();
      if (!current()) return;
      this.setState("running");
      this.sendFrame(session);
    } catch (error) {
      if (current()) this.end("error", ...explain(error));
    }
  }

  /** End the session and give the camera back, whichever side it is on. */
  end(state, error = "", text = "") {
    const played = this.running && !this.fromBrowser;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.part.video.srcObject = this.asked = null;
    this.setState(state, error, text);
    this.clear();
    if (played) this.say({ kind: "stop" });
  }

  /** A source of the kernel's side is over; its last picture stays. */
  finish(text) {
    this.setState("stopped", "", " ");
    this.part.status.textContent = text;
    if (!/^\d+$/.test(this.model.get("source"))) this.part.start.textContent = "Replay"; // unless it was a camera
  }

  lose() {
    this.end("error", "kernel-gone", "The connection to the kernel was lost. Run all cells above, then this one.");
  }

  destroy() {
    clearInterval(this.watch);
    if (this.running) this.end("stopped");
    Object.entries(this.listeners).forEach((each) => this.model.off(...each));
  }

  checkSilence() {
    const silence = this.asked ? performance.now() - this.asked : 0;
    const opening = this.root.dataset.state === "starting"; // a source of the kernel's, which may take long
    const limit = this.model.get("give_up_seconds");
    if (silence > limit * 1000 && !opening)
      this.end("error", "kernel-silent", `The kernel has not answered for ${limit} s, so the camera was released. ` +
        "When it is free, press Start; if it was restarted, run all cells above, then this one.");
    else if (silence > BUSY)
      this.part.status.textContent = `the kernel is busy (${Math.floor(silence / 1000)} s without an answer)`;
  }

  // Frames up, and answers down

  /** Send the newest frame of the browser's camera, unless it has been sent before: then the next one. */
  sendFrame(session) {
    if (session !== this.id || !this.running) return;
    if (this.part.video.currentTime === this.sentTime) {
      this.part.video.requestVideoFrameCallback(() => this.sendFrame(session));
      return;
    }
    this.sentTime = this.part.video.currentTime;
    const width = Math.min(WIDTH, this.part.video.videoWidth);
    const height = Math.round((width * this.part.video.videoHeight) / this.part.video.videoWidth);
    Object.assign(this.capture, { width, height }); // anew, for a telephone may be turned
    this.captured = performance.now();
    this.capture.getContext("2d").drawImage(this.part.video, 0, 0, width, height);
    // toDataURL, because toBlob waits some 20 ms for the browser to be idle
    this.ask({ kind: "frame", data: this.capture.toDataURL("image/jpeg", QUALITY).split(",")[1] });
  }

  receive(message) {
    if (!this.running) return;
    this.asked = null;
    if (message.kind === "stop") this.end("stopped");
    else if (message.kind === "end") this.finish(message.text);
    else if (message.kind === "error") this.end("error", "source", message.text);
    else if (message.data) this.showFrame(message);
    else {
      this.show(message.faces, this.capture, performance.now() - this.captured);
      this.sendFrame(this.id);
    }
  }

  /** Show a frame of the kernel's camera or file when it is due, and ask for the next. */
  async showFrame({ data, age, early, faces, ...size }) {
    const session = this.id;
    await new Promise((resolve) => setTimeout(resolve, 1000 * early));
    if (session !== this.id || !this.running) return;
    const due = performance.now();
    this.part.image.src = `data:image/jpeg;base64,${data}`;
    await this.part.image.decode().catch(() => {});
    if (session !== this.id || !this.running) return;
    if (this.root.dataset.state !== "running") this.setState("running");
    this.show(faces, size, 1000 * age + performance.now() - due);
    this.ask({ kind: "next" });
  }

  show(faces, { width, height }, latency) {
    this.drawFaces(faces, width, height);
    const now = performance.now();
    this.times = [...this.times.slice(-30), now];
    const rate = (1000 * (this.times.length - 1)) / (now - this.times[0]) || 0;
    Object.assign(this.root.dataset, {
      frames: Number(this.root.dataset.frames) + 1,
      faces: faces.length,
      boxes: JSON.stringify(faces.map((face) => face.box)),
      frameSize: `${width}x${height}`,
      latency: latency.toFixed(1),
    });
    this.part.status.textContent = `${rate.toFixed(0)} frames/s, ${latency.toFixed(0)} ms from picture to label`;
  }

  drawFaces(faces, width = 4, height = 3) {
    const colors = this.model.get("colors");
    const scale = OVERLAY / width;
    this.part.overlay.width = OVERLAY;
    this.part.overlay.height = Math.round(height * scale);
    this.part.picture.style.aspectRatio = `${width} / ${height}`;
    this.part.picture.style.maxWidth = `${(TALLEST * width) / height}px`;
    const context = this.part.overlay.getContext("2d");
    context.scale(scale, scale);
    const unit = Math.min(height, 0.75 * width) / 17; // height of a label
    context.font = `600 ${0.77 * unit}px system-ui, sans-serif`;
    context.textBaseline = "top";
    for (const face of [...faces].reverse()) { // the largest face on top
      const [x, y, w, h] = face.box;
      const left = this.fromBrowser ? width - x - w : x; // the picture is mirrored, the text must not be
      const top = Math.max(y - unit, 0);
      context.lineWidth = unit / 5; // a light seam shows the box on a ground of its own colour
      context.strokeStyle = "rgba(255, 255, 255, 0.6)";
      context.strokeRect(left, y, w, h);
      context.lineWidth = unit / 10;
      context.strokeStyle = context.fillStyle = colors[face.label];
      context.strokeRect(left, y, w, h);
      context.fillRect(left - context.lineWidth / 2, top, context.measureText(face.caption).width + unit / 2, unit);
      context.fillStyle = "black";
      context.fillText(face.caption, left + unit / 5, top + unit / 6);
    }
    if (faces[0]?.crop) this.part.crop.src = `data:image/png;base64,${faces[0].crop}`;
    else this.part.crop.removeAttribute("src");
    this.part.who.textContent = ["no face", "one face"][faces.length] ?? `largest of ${faces.length} faces`;
    this.root.querySelectorAll(".bar").forEach((bar, index) => {
      const share = faces.length ? 100 * faces[0].probabilities[index] : 0;
      bar.querySelector(".fill").style.width = `${share.toFixed(1)}%`;
      bar.querySelector(".percent").textContent = faces.length ? `${Math.round(share)} %` : "";
    });
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.destroy();
  },
};
