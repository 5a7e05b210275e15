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

function render({ model, el }) {
  el.innerHTML = model.get("page");
  const root = el.querySelector(".fer-live");
  const parts = ["picture", "video", "image", "overlay", "hint", "start", "status", "who", "crop"];
  const [picture, video, image, overlay, hint, button, status, who, crop] = parts.map((name) =>
    root.querySelector(`.${name}`));
  const reason = (code) => root.querySelector(`[data-reason="${code}"]`)?.textContent;
  const capture = document.createElement("canvas");
  let id = null; // of the session, from Start to Stop: what belongs to another one is ignored, or to another view
  let fromBrowser, stream, times, waiting; // of the session, too; when each frame on its way was taken
  let asked; // when the kernel was asked what it has not answered yet

  function setState(state, error = "", text = "") {
    Object.assign(root.dataset, { state, error, source: model.get("source") });
    button.textContent = id ? "Stop" : "Start";
    status.textContent = state === "starting" ? "starting …" : "";
    hint.textContent = text;
  }

  /** Nothing is to be seen: no picture, no face. */
  function clear() {
    image.removeAttribute("src");
    drawFaces([]);
    who.textContent = "";
  }

  function say(message) {
    try {
      model.send({ view: id, ...message });
    } catch {
      end("error", "kernel-gone");
    }
  }

  /** Send a message that will be answered by one. */
  function ask(message) {
    asked = performance.now();
    say(message);
  }

  // Starting and stopping

  async function start() {
    const session = (id = Math.random().toString(36).slice(2));
    Object.assign(root.dataset, { frames: 0, latency: "" });
    [times, waiting] = [[], []];
    fromBrowser = model.get("source") === "browser";
    clear(); // the last picture of a source that ended
    setState("starting", "", fromBrowser ? "If the browser asks, allow the camera." : "");
    picture.classList.toggle("mirrored", fromBrowser);
    if (!fromBrowser) return ask({ kind: "start" });
    say({ kind: "stop" });
    if (!id) return; // for there is no kernel
    try {
      const size = { width: { ideal: 640 }, height: { ideal: 480 } };
      const opened = await navigator.mediaDevices.getUserMedia({ video: size, audio: false });
      if (session !== id) return opened.getTracks().forEach((track) => track.stop());
      stream = video.srcObject = opened;
      stream.getVideoTracks()[0].onended = () => end("error", "source", "The camera was unplugged or taken away.");
      await video.play();
      if (session === id) setState("running");
      sendFrames(session);
    } catch (error) {
      if (session === id) end("error", ...explain(error));
    }
  }

  function changeSource() {
    const running = id;
    end(running ? "stopped" : "idle");
    if (running) start();
  }

  /** End the session and give the camera back, whichever side it is on. */
  function end(state, error = "", text = reason(error) ?? "Press Start.") {
    const session = id;
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = asked = id = null;
    setState(state, error, text);
    clear();
    if (session && !fromBrowser) say({ kind: "stop", view: session });
  }

  /** A source of the kernel's side is over; its last picture stays. */
  function finish(text) {
    id = null;
    setState("stopped");
    status.textContent = text;
    if (!/^\d+$/.test(model.get("source"))) button.textContent = "Replay"; // unless it was a camera
  }

  function checkSilence() {
    const silence = asked ? performance.now() - asked : 0;
    const opening = root.dataset.state === "starting"; // a source of the kernel's, which may take long
    const limit = model.get("give_up_seconds");
    if (silence > limit * 1000 && !opening)
      end("error", "kernel-silent", `The kernel has not answered for ${limit} s, so the camera was released. ` +
        "When it is free, press Start; if it was restarted, run all cells above, then this one.");
    else if (silence > BUSY)
      status.textContent = `the kernel is busy (${Math.floor(silence / 1000)} s without an answer)`;
  }

  // Frames up, and answers down

  /** Send each new frame of the browser's camera, unless enough of them are on their way. */
  function sendFrames(session) {
    if (session !== id) return;
    video.requestVideoFrameCallback(() => sendFrames(session));
    if (waiting.length === AHEAD) return;
    const width = Math.min(WIDTH, video.videoWidth);
    const height = Math.round((width * video.videoHeight) / video.videoWidth);
    Object.assign(capture, { width, height }); // anew, for a telephone may be turned
    waiting.push(performance.now());
    capture.getContext("2d").drawImage(video, 0, 0, width, height);
    // toDataURL, because toBlob waits some 20 ms for the browser to be idle
    ask({ kind: "frame", data: capture.toDataURL("image/jpeg", QUALITY).split(",")[1] });
  }

  function receive(message) {
    if (!id || (message.view ?? id) !== id) return;
    const taken = waiting.shift();
    asked = waiting[0] ?? null;
    if (message.kind === "stop") end("stopped");
    else if (message.kind === "end") finish(message.text);
    else if (message.kind === "error") end("error", "source", message.text);
    else if (message.data) showFrame(message);
    else show(message.faces, capture, performance.now() - taken);
  }

  /** Show a frame of the kernel's camera or file when it is due, and ask for the next. */
  async function showFrame({ data, age, early, faces, ...size }) {
    const session = id;
    await new Promise((resolve) => setTimeout(resolve, 1000 * early));
    if (session !== id) return;
    const due = performance.now();
    image.src = `data:image/jpeg;base64,${data}`;
    await image.decode().catch(() => {});
    if (session !== id) return;
    if (root.dataset.state !== "running") setState("running");
    show(faces, size, 1000 * age + performance.now() - due);
    ask({ kind: "next" });
  }

  function show(faces, size, latency) {
    drawFaces(faces, size);
    const now = performance.now();
    times = [...times.slice(-30), now];
    const rate = (1000 * (times.length - 1)) / (now - times[0]) || 0;
    const frames = Number(root.dataset.frames) + 1;
    Object.assign(root.dataset, { frames, frameSize: `${size.width}x${size.height}`, latency: latency.toFixed(1) });
    status.textContent = `${rate.toFixed(0)} frames/s, ${latency.toFixed(0)} ms from picture to label`;
  }

  function drawFaces(faces, { width, height } = { width: 4, height: 3 }) {
    const boxes = faces.map((face) => boxed(face, { width, height }, fromBrowser));
    overlay.innerHTML = boxes.reverse().join(""); // the largest face on top
    picture.style.aspectRatio = `${width} / ${height}`;
    picture.style.maxWidth = `${(TALLEST * width) / height}px`;
    Object.assign(root.dataset, { faces: faces.length, boxes: JSON.stringify(faces.map((face) => face.box)) });
    if (faces[0]?.crop) crop.src = `data:image/png;base64,${faces[0].crop}`;
    else crop.removeAttribute("src");
    who.textContent = ["no face", "one face"][faces.length] ?? `largest of ${faces.length} faces`;
    root.querySelectorAll(".bar").forEach((bar, index) => {
      const share = faces.length ? 100 * faces[0].probabilities[index] : 0;
      bar.querySelector(".fill").style.width = `${share.toFixed(1)}%`;
      bar.querySelector(".percent").textContent = faces.length ? `${Math.round(share)} %` : "";
    });
  }

  button.onclick = () => (id ? end("stopped") : start());
  const listeners = {
    "msg:custom": receive,
    "change:source": changeSource,
    comm_live_update: () => id && end("error", "kernel-gone"), // a restarted kernel
  };
  Object.entries(listeners).forEach((each) => model.on(...each));
  const watch = setInterval(checkSilence, 500);
  end("idle");
  return () => {
    clearInterval(watch);
    if (id) end("stopped");
    Object.entries(listeners).forEach((each) => model.off(...each));
  };
}

export default { render };
