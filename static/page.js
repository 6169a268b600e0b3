// The page: what the visitor sees and presses, wired to the connection and the source of the voice.

import { lightFrom } from "./ambience.js";
import { avatarCard, fetchAvatars } from "./avatars.js";
import { Board } from "./board.js";
import { Connection } from "./connection.js";
import { Panel } from "./panel.js";
import { openSource, SourceError } from "./source.js";

const METER_EVERY_MS = 80;
const CLOCK_EVERY_MS = 250;
const ROOM_FOR_FIGURES = "(min-width: 700px)"; // as in page.css

const STATUS = {
  idle: "Ready",
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  full: "Waiting",
  error: "Not connected",
};
const MAIN_BUTTON = {
  idle: "Start",
  connecting: "Cancel",
  live: "End",
  reconnecting: "End",
  full: "Cancel",
  error: "Start",
};
const HINT = {
  microphone: ["#icon-headphones", "Wear headphones: your own voice comes back."],
  sample: ["#icon-sample", "A recording speaks. No microphone needed."],
};

const $ = (id) => document.getElementById(id);
const video = $("video");
const connection = new Connection();
const panel = new Panel($("figures"));
const board = new Board($("notice"), {
  sample: ["Use the speech sample", useSample],
  sound: ["Turn the sound on", () => setSound(true)],
  retry: ["Try now", () => connection.retry()],
  reload: ["Try again", loadAvatars],
});

let context = null; // AudioContext: made at the first Start, as browsers want a click before it
let avatar = null; // the chosen entry of GET /avatars
let source = null; // the voice being sent
let opening = null; // token of the openSource() that is still wanted
let muted = false;
let liveSince = null; // performance.now() of the first live moment of this call

// For tests and the curious. stats() resolves with the last second's numbers, as figures.js documents
// them, or null outside a session.
window.avatarPage = {
  get state() {
    return document.body.dataset.state;
  },
  stats: async () =>
    panel.latest && { state: document.body.dataset.state, sessionId: connection.session?.id, ...panel.latest },
};

function setState(state) {
  document.body.dataset.state = state;
  const calling = state !== "idle" && state !== "error";
  $("status").textContent = STATUS[state];
  $("main").textContent = MAIN_BUTTON[state];
  $("mute").hidden = !calling;
  $("sound").hidden = !calling;
  if (state !== "live") {
    $("stage").classList.remove("playing");
    panel.stop();
  }
  if (!calling) liveSince = null;
  showClock();
  showHint();
}

function tell(trouble, facts = {}, retryAt = null) {
  announce(board.show(trouble, { title: title(), ...facts }, retryAt));
}

function untell() {
  if (board.trouble !== null && board.hide()) $("main").focus();
}

function announce(words) {
  $("announcement").textContent = words;
}

function title() {
  return avatar?.title ?? "The avatar";
}

// ---- the call

async function start() {
  untell();
  setState("connecting");
  if (chosenVoice() === "microphone") $("status").textContent = "Waiting for the microphone";
  announce("Connecting");
  setSound(true);
  try {
    if (!(await takeSource(chosenVoice()))) return;
  } catch (error) {
    fail(error.trouble);
    return;
  }
  connection.open(source.track, avatar?.name);
}

function end() {
  connection.close();
  hangUp();
  announce("Ended");
}

function fail(trouble, facts) {
  hangUp();
  setState("error");
  tell(trouble, facts);
}

function hangUp() {
  opening = null;
  dropSource();
  setMuted(false);
  video.srcObject = null;
  context?.suspend().catch(() => {});
}

connection.addEventListener("change", ({ detail: { state, trouble, error, retryAt } }) => {
  if (state === "error") {
    fail(trouble, { error });
    return;
  }
  setState(state);
  if (!trouble) untell();
  else if (trouble === board.trouble) board.countDown(retryAt ?? null);
  else tell(trouble, { error }, retryAt ?? null);
  if (state === "live") goLive();
});

function goLive() {
  liveSince ??= performance.now();
  showClock();
  panel.follow(connection.session);
  video.srcObject = connection.session.stream;
  playVideo();
  if (source.kind === "sample") source.play();
  announce(source.kind === "sample" ? `Live. ${title()} speaks the sample.` : "Live. Speak now.");
}

async function playVideo() {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return; // the stream was replaced: the next one has its own play()
    setSound(false);
    tell("sound-blocked");
    video.play().catch(() => {});
  }
}

function showClock() {
  $("clock").hidden = liveSince === null;
  if (liveSince === null) return;
  const seconds = Math.floor((performance.now() - liveSince) / 1000);
  $("clock").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

// ---- the voice

function chosenVoice() {
  return document.querySelector("input[name=voice]:checked").value;
}

// Resolves false when the call was ended, or another source chosen, before this one had opened.
// Rejects with SourceError; the source in use then stays in use.
async function takeSource(kind) {
  const token = (opening = {});
  context ??= new AudioContext({ latencyHint: "interactive" });
  let taken;
  try {
    taken = await openSource(kind, context);
  } catch (error) {
    if (opening !== token) return false;
    throw error;
  }
  if (opening !== token) {
    taken.stop();
    return false;
  }
  opening = null;
  dropSource();
  source = taken;
  source.muted = muted;
  source.addEventListener("ended", () => sourceEnded(taken));
  return true;
}

function dropSource() {
  source?.stop();
  source = null;
}

function sourceEnded(ended) {
  if (ended !== source) return;
  if (ended.kind === "sample") announce("The sample has ended.");
  else tell("microphone-lost");
}

async function changeVoice() {
  showHint();
  if (opening && !source) start();
  if (!source) return;
  try {
    if (!(await takeSource(chosenVoice()))) return;
    untell();
    await connection.replaceTrack(source.track);
    if (connection.state === "live") source.play?.();
    showHint();
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    selectVoice(source.kind);
    tell(error.trouble);
  }
}

function selectVoice(kind) {
  document.querySelector(`input[name=voice][value=${kind}]`).checked = true;
  showHint();
}

function useSample() {
  selectVoice("sample");
  untell();
  if (source) changeVoice();
  else start();
}

function showHint() {
  const kind = chosenVoice();
  const [icon, text] = HINT[kind];
  $("hint-icon").setAttribute("href", icon);
  $("hint-text").textContent = text;
  $("again").hidden = !(document.body.dataset.state === "live" && source?.kind === "sample");
  $("hint").hidden = !$("again").hidden;
}

function setMuted(on) {
  muted = on;
  if (source) source.muted = on;
  $("mute").setAttribute("aria-pressed", String(on));
}

function setSound(on) {
  video.muted = !on;
  $("sound").setAttribute("aria-pressed", String(!on));
  if (on && board.trouble === "sound-blocked") untell();
}

// ---- the avatars

async function loadAvatars() {
  let list;
  try {
    list = await fetchAvatars();
  } catch (error) {
    tell("avatars-missing", { error });
    return;
  }
  if (board.trouble === "avatars-missing") untell();
  const legend = $("avatars").querySelector("legend");
  $("avatars").replaceChildren(legend, ...list.map((entry, i) => avatarCard(entry, i === 0)));
  $("avatars").onchange = ({ target }) => {
    chooseAvatar(list.find((entry) => entry.name === target.value));
    if (source && connection.state !== "idle") connection.open(source.track, avatar.name);
  };
  if (list.length) chooseAvatar(list[0]);
}

function chooseAvatar(chosen) {
  avatar = chosen;
  for (const node of document.querySelectorAll("[data-avatar-title]")) node.textContent = chosen.title;
  video.setAttribute("aria-label", `${chosen.title}, live`);
  $("poster").src = chosen.poster_url;
  const credit = [chosen.credit, chosen.licence && `Licence: ${chosen.licence}.`].filter(Boolean).join(" ");
  $("credit").textContent = credit;
  $("credit").hidden = !credit;
}

// ---- wiring

$("main").addEventListener("click", () => {
  const state = document.body.dataset.state;
  if (state === "idle" || state === "error") start();
  else end();
});
$("mute").addEventListener("click", () => setMuted(!muted));
$("sound").addEventListener("click", () => setSound(video.muted));
$("again").addEventListener("click", () => {
  source.play();
  announce(`${title()} says it again.`);
});
for (const input of document.querySelectorAll("input[name=voice]")) input.addEventListener("change", changeVoice);

$("poster").addEventListener("load", () => {
  $("poster").hidden = false;
  lightFrom($("poster"), document.body);
});
for (const event of ["playing", "resize"]) {
  video.addEventListener(event, () => {
    // Not before there is a picture: until then the poster stands in, and nothing flashes.
    if (connection.state === "live" && video.videoWidth) $("stage").classList.add("playing");
  });
}
// Leaving the page ends the session at the server at once; coming back by the history finds the page ready.
addEventListener("pagehide", () => {
  if (source || connection.state !== "idle") end();
});

setInterval(() => {
  if (source) $("mute").style.setProperty("--level", source.level().toFixed(2));
}, METER_EVERY_MS);
setInterval(showClock, CLOCK_EVERY_MS);

// The figures are folded on a phone and open where there is room, until the visitor decides otherwise.
const room = matchMedia(ROOM_FOR_FIGURES);
const fold = () => ($("figures").open = room.matches);
room.addEventListener("change", fold);
fold();

if (!globalThis.RTCPeerConnection || !globalThis.AudioContext) {
  $("main").disabled = true;
  setState("error");
  tell("unsupported");
} else if (!isSecureContext) {
  selectVoice("sample");
}
loadAvatars();
