// The browser's side of the live camera: shows a picture, sends frames up one at a time, and draws what comes back.

const WIDTH = 480; // pixels of the frames sent up; faces are looked for on fewer
const QUALITY = 0.7; // of their JPEG
const OVERLAY = 1280; // pixels of the overlay's width, whatever the frame's
const TALLEST = 520; // pixels of the page for the picture's height, so that a telephone's film is seen whole
const BUSY = 2000; // milliseconds without an answer until the kernel is called busy
const HINTS = { idle: "Press Start.", stopped: "Press Start.", starting: "If the browser asks, allow the camera." };

/** Why there is no camera, as a short code and a sentence. `place`: protocol, permitted, secure, devices of the page. */
export function explain(place, error) {
  if (place.protocol.startsWith("vscode"))
    return ["vscode", "VS Code's notebook gives no camera to widgets. Choose the kernel's camera or a file as source, " +
      "or open this notebook in JupyterLab."];
  if (!place.permitted)
    return ["embedded", "The page round this notebook gives it no camera. Open the notebook in a tab of its own (in VS " +
      "Code: in JupyterLab), or choose the kernel's camera or a file as source."];
  if (!place.secure)
    return ["insecure", "Browsers give the camera to secure pages only. Open this page by https, or forward the port " +
      "with ssh -L 8888:localhost:8888 HOST and open http://localhost:8888."];
  if (!place.devices) return ["no-camera", "This browser has no access to cameras. Choose another source."];
  switch (error && error.name) {
    case "NotAllowedError":
      return ["denied", "The camera was not allowed. Allow it by the symbol beside the page's address, then press Start."];
    case "NotFoundError":
    case "OverconstrainedError":
      return ["no-camera", "There is no camera on this computer. Plug one in, or choose another source, such as the demo clip."];
    case "NotReadableError":
      return ["in-use", "The camera is in use by another program. Close that program, then press Start."];
    default:
      return ["source", `The camera cannot be used: ${error ? error.message : "unknown reason"}`];
  }
}

function element(tag, className, parent, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  parent.append(made);
  return made;
}

const newId = () => Math.random().toString(36).slice(2);

class View {
  constructor(model, el) {
    this.model = model;
    this.id = newId(); // several views of one widget share its messages
    this.useBuffers = true;
    this.build(el);
    this.capture = document.createElement("canvas");
    this.onMessage = (message) => (message.view ?? this.id) === this.id && this.receive(message);
    this.onSource = () => this.changeSource();
    this.onConnection = () => this.running && this.lose();
    this.onLeave = () => this.running && this.stop();
    model.on("msg:custom", this.onMessage);
    model.on("change:source", this.onSource);
    model.on("comm_live_update", this.onConnection); // a restarted kernel
    window.addEventListener("pagehide", this.onLeave);
    this.watch = setInterval(() => this.checkSilence(), 500);
    this.setState("idle");
  }

  build(el) {
    this.root = element("div", "fer-live", el);
    const left = element("div", "left", this.root);
    this.picture = element("div", "picture", left);
    Object.assign(this.picture, { role: "img", ariaLabel: "the picture, with a box and a label round every face" });
    this.video = element("video", "", this.picture);
    this.video.muted = this.video.playsInline = true;
    this.image = element("img", "", this.picture);
    this.overlay = element("canvas", "overlay", this.picture);
    this.hint = element("div", "hint", this.picture);
    const line = element("div", "line", left);
    this.button = element("button", "start", line, "Start");
    this.button.onclick = () => (this.running ? this.stop() : this.start());
    this.status = element("span", "status", line);
    this.status.setAttribute("role", "status");
    const right = element("div", "right", this.root);
    this.who = element("div", "who", right);
    this.crop = element("img", "crop", right);
    this.crop.alt = "the crop that the network sees";
    this.bars = this.model.get("classes").map((name) => {
      const bar = element("div", "bar", right);
      bar.dataset.expression = name;
      element("span", "name", bar, name);
      const fill = element("span", "fill", element("span", "track", bar));
      fill.style.background = this.model.get("colors")[name];
      return { fill, percent: element("span", "percent", bar) };
    });
  }

  setState(state, error = "", text = "", keepPicture = false) {
    this.running = state === "starting" || state === "running";
    Object.assign(this.root.dataset, { state, error });
    this.button.textContent = this.running ? "Stop" : "Start";
    this.status.textContent = state === "starting" ? "starting …" : "";
    this.hint.textContent = text || (state === "starting" && !this.fromBrowser ? "" : HINTS[state] || "");
    if (!this.running && !keepPicture) this.clear();
  }

  /** Nothing is to be seen: no picture, no face. */
  clear() {
    this.image.removeAttribute("src");
    Object.assign(this.root.dataset, { faces: 0, boxes: "[]" });
    this.drawFaces([]);
    this.who.textContent = "";
  }

  /** Send a message up; false when there is no kernel to hear it. */
  say(message, buffers) {
    try {
      this.model.send(message, undefined, buffers);
      return true;
    } catch {
      this.lose();
      return false;
    }
  }

  // Starting and stopping

  async start() {
    Object.assign(this.root.dataset, { frames: 0, latency: "" });
    this.id = newId(); // whatever belongs to an earlier session is late and ignored
    this.inFlight = null;
    this.opening = false; // whether the kernel opens its source, which may take long
    this.heard = performance.now();
    this.times = [];
    this.fromBrowser = this.model.get("source") === "browser";
    this.clear(); // the last picture of a source that ended
    this.setState("starting");
    this.picture.classList.toggle("mirrored", this.fromBrowser);
    const heard = this.say({ kind: this.fromBrowser ? "stop" : "start", view: this.id });
    if (heard && this.fromBrowser) await this.startCamera(this.id);
  }

  changeSource() {
    if (!this.running) return this.setState("idle");
    this.stop();
    this.start();
  }

  async startCamera(session) {
    const place = {
      protocol: window.location.protocol,
      permitted: document.featurePolicy?.allowsFeature("camera") ?? true, // not every browser tells
      secure: window.isSecureContext,
      devices: Boolean(navigator.mediaDevices),
    };
    let stream;
    try {
      const size = { width: { ideal: 640 }, height: { ideal: 480 } };
      stream = await navigator.mediaDevices.getUserMedia({ video: size, audio: false });
      if (session !== this.id || !this.running) return stream.getTracks().forEach((track) => track.stop());
      this.stream = stream;
      stream.getVideoTracks()[0].onended = () => this.fail("source", "The camera was unplugged or taken away.");
      this.video.srcObject = stream;
      await this.video.play();
    } catch (error) {
      if (session === this.id && this.running) this.fail(...explain(place, error));
      return;
    }
    if (session !== this.id || !this.running) return;
    this.setState("running");
    this.sendFrame(session);
  }

  /** Give the camera back, whichever side it is on. */
  release() {
    if (this.stream) this.stream.getTracks().forEach((track) => track.stop());
    this.stream = this.video.srcObject = null;
    this.inFlight = null;
  }

  stop(text = "") {
    this.release();
    this.setState("stopped", "", text);
    if (!this.fromBrowser) this.say({ kind: "stop", view: this.id });
  }

  /** A source of the kernel's side is over; its last picture stays. */
  finish(text) {
    this.setState("stopped", "", " ", true);
    this.status.textContent = text;
    if (!/^\d+$/.test(this.model.get("source"))) this.button.textContent = "Replay"; // unless it was a camera
  }

  fail(code, text) {
    const session = this.running && !this.fromBrowser && this.id;
    this.release();
    this.setState("error", code, text);
    if (session) this.say({ kind: "stop", view: session }); // it may still hold the kernel's camera
  }

  lose() {
    this.fail("kernel-gone", "The connection to the kernel was lost. Run all cells above, then this one.");
  }

  destroy() {
    clearInterval(this.watch);
    window.removeEventListener("pagehide", this.onLeave);
    if (this.running) this.stop();
    this.model.off("msg:custom", this.onMessage);
    this.model.off("change:source", this.onSource);
    this.model.off("comm_live_update", this.onConnection);
  }

  checkSilence() {
    const silence = performance.now() - this.heard;
    const opening = this.opening && this.root.dataset.state === "starting";
    const waiting = this.running && (this.fromBrowser ? this.inFlight : !opening);
    if (!waiting || silence < BUSY) return;
    const limit = this.model.get("give_up_seconds");
    if (silence > limit * 1000)
      this.fail("kernel-silent", `The kernel has not answered for ${limit} s, so the camera was released. ` +
        "When it is free, press Start; if it was restarted, run all cells above, then this one.");
    else this.status.textContent = `the kernel is busy (${Math.floor(silence / 1000)} s without an answer)`;
  }

  // Frames up

  /** Send the newest frame, unless it has been sent before: then the next one. */
  sendFrame(session) {
    if (session !== this.id || this.root.dataset.state !== "running") return;
    if (this.video.currentTime === this.sentTime) {
      this.video.requestVideoFrameCallback(() => this.sendFrame(session));
      return;
    }
    this.sentTime = this.video.currentTime;
    const width = Math.min(WIDTH, this.video.videoWidth);
    const height = Math.round((width * this.video.videoHeight) / this.video.videoWidth);
    Object.assign(this.capture, { width, height }); // anew, for a telephone may be turned
    const captured = performance.now();
    this.capture.getContext("2d").drawImage(this.video, 0, 0, width, height);
    // toDataURL, because toBlob waits some 20 ms for the browser to be idle
    const data = this.capture.toDataURL("image/jpeg", QUALITY).split(",")[1];
    const id = Number(this.root.dataset.frames) + 1;
    this.inFlight = { id, captured, data, width, height };
    this.heard = captured;
    this.post();
  }

  post() {
    const { id, data, width, height } = this.inFlight;
    const message = { kind: "frame", view: this.id, id, width, height };
    if (this.useBuffers) {
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
      this.say(message, [bytes.buffer]);
    } else this.say({ ...message, data });
  }

  // Answers down

  receive(message) {
    this.heard = performance.now();
    if (!this.running) return;
    if (message.kind === "stop") this.stop();
    else if (message.kind === "end") this.finish(message.text);
    else if (message.kind === "error") this.fail("source", message.text);
    else if (message.kind === "frame") this.showFrame(message);
    else if (message.kind === "waiting") this.opening = true;
    else if (this.inFlight && message.id === this.inFlight.id) {
      if (message.kind === "no_buffer") {
        this.useBuffers = false; // some front ends lose them on the way up
        this.post();
      } else this.showAnswer(message);
    }
  }

  /** An answer to a frame of the browser's camera. */
  showAnswer(message) {
    const { captured, width, height } = this.inFlight;
    this.inFlight = null;
    this.show(message, width, height, performance.now() - captured);
    this.sendFrame(this.id);
  }

  /** A frame of the kernel's camera or file, with its faces. */
  async showFrame(message) {
    const session = this.id;
    this.image.src = `data:image/jpeg;base64,${message.data}`;
    await this.image.decode().catch(() => {});
    if (session !== this.id || !this.running) return;
    if (this.root.dataset.state !== "running") this.setState("running");
    this.show(message, message.width, message.height, message.age + performance.now() - this.heard);
    this.say({ kind: "shown", view: this.id });
  }

  show(message, width, height, latency) {
    this.drawFaces(message.faces, width, height);
    const now = performance.now();
    this.times = [...this.times.slice(-30), now];
    const rate = (1000 * (this.times.length - 1)) / (now - this.times[0]) || 0;
    Object.assign(this.root.dataset, {
      frames: Number(this.root.dataset.frames) + 1,
      faces: message.faces.length,
      boxes: JSON.stringify(message.faces.map((face) => face.box)),
      frameSize: `${width}x${height}`,
      latency: latency.toFixed(1),
    });
    this.status.textContent = `${rate.toFixed(0)} frames/s, ${latency.toFixed(0)} ms from picture to label`;
  }

  drawFaces(faces, width = 4, height = 3) {
    const colors = this.model.get("colors");
    const scale = OVERLAY / width;
    this.overlay.width = OVERLAY;
    this.overlay.height = Math.round(height * scale);
    this.picture.style.aspectRatio = `${width} / ${height}`;
    this.picture.style.maxWidth = `${(TALLEST * width) / height}px`;
    const context = this.overlay.getContext("2d");
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
    if (faces[0]?.crop) this.crop.src = `data:image/png;base64,${faces[0].crop}`;
    else this.crop.removeAttribute("src");
    this.who.textContent = ["no face", "one face"][faces.length] ?? `largest of ${faces.length} faces`;
    this.bars.forEach(({ fill, percent }, index) => {
      const share = faces.length ? 100 * faces[0].probabilities[index] : 0;
      fill.style.width = `${share.toFixed(1)}%`;
      percent.textContent = faces.length ? `${Math.round(share)} %` : "";
    });
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.destroy();
  },
};
