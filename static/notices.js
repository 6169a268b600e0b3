// What to say when something is in the way. `actions` are names page.js knows.

const SAMPLE_INSTEAD = "use the speech sample instead";

// trouble: a name from Connection or SourceError. facts: {error, title, firstTime}, where title is the avatar's.
// Returns {title, text, actions}.
export function notice(trouble, facts = {}) {
  const words = WORDS[trouble] ?? WORDS.refused;
  return { actions: [], ...words(facts) };
}

const WORDS = {
  "microphone-refused": () => ({
    title: "The microphone was refused",
    text: `Allow it beside the address bar and start again, or ${SAMPLE_INSTEAD}.`,
    actions: ["sample"],
  }),
  "microphone-missing": () => ({
    title: "No microphone found",
    text: `Plug one in and start again, or ${SAMPLE_INSTEAD}.`,
    actions: ["sample"],
  }),
  "microphone-busy": () => ({
    title: "The microphone does not open",
    text: `Another program may be holding it. Close that and start again, or ${SAMPLE_INSTEAD}.`,
    actions: ["sample"],
  }),
  "microphone-insecure": () => ({
    title: "The microphone needs a secure page",
    text: `Browsers lend it only to https pages and to localhost. Open this page that way, or ${SAMPLE_INSTEAD}.`,
    actions: ["sample"],
  }),
  "microphone-lost": () => ({
    title: "The microphone is gone",
    text: "It was unplugged or taken away. Choose it again when it is back, or go on with the speech sample.",
    actions: ["sample"],
  }),
  "sample-missing": () => ({
    title: "The speech sample did not load",
    text: "Use the microphone instead, or try again.",
  }),
  "sound-blocked": ({ title }) => ({
    title: "The sound is off",
    text: `The browser holds it back until you ask for it. ${title} is already there.`,
    actions: ["sound"],
  }),
  full: ({ error }) => ({
    title: error.type.endsWith(":not-ready") ? "The server is not ready yet" : "The server is full",
    text: sentence(error.detail) || "Every place is taken just now.",
    actions: ["retry"],
  }),
  unreachable: () => ({
    title: "The server does not answer",
    text: "It may be starting, or the network may be down.",
    actions: ["retry"],
  }),
  lost: () => ({
    title: "Connection lost",
    text: "Reconnecting by itself.",
    actions: ["retry"],
  }),
  "no-media": () => ({
    title: "Sound and picture cannot get through",
    text: "The server answered, but no media arrived. A firewall may be blocking UDP between you and it.",
  }),
  refused: ({ error }) => ({
    title: error?.title || "Something went wrong",
    text: sentence(error?.detail) || "The server gave no reason; its log may.",
  }),
  "avatars-missing": ({ error }) => ({
    title: "The avatars did not load",
    text: sentence(error?.detail) || "The server does not answer.",
    actions: ["reload"],
  }),
  unsupported: () => ({
    title: "This browser cannot make the call",
    text: "It has no WebRTC. Current versions of Chrome, Edge, Firefox and Safari do.",
  }),
};

// Details of problems come as "all 4 sessions are taken".
function sentence(detail) {
  if (!detail) return "";
  return detail[0].toUpperCase() + detail.slice(1) + (/[.!?]$/.test(detail) ? "" : ".");
}
