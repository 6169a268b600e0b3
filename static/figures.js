// getStats() reports, once a second, turned into the numbers people ask for.

const PACKET_MS = 20; // Opus fills one packet before it sends it
const LOSS_WINDOW_MS = 10_000;
const SKEW_WINDOW = 5; // reports; the median of them is shown

const KEPT = {
  framesDecoded: (audio, video) => video.framesDecoded,
  bytes: (audio, video) => octets(audio) + octets(video),
  received: (audio, video) => audio.packetsReceived + video.packetsReceived,
  lost: (audio, video) => audio.packetsLost + video.packetsLost,
  bufferDelayS: (audio) => audio.jitterBufferDelay,
  bufferEmitted: (audio) => audio.jitterBufferEmittedCount,
};

export class Figures {
  #history = []; // totals of the last LOSS_WINDOW_MS, oldest first
  #skews = [];

  // report: RTCStatsReport. server: the body of GET session_url, or null. nowMs: monotonic.
  // Returns null before there is media, else numbers; a number the browser cannot give is null.
  //   fps, bitrateKbps                     over the time since the last report
  //   packetMs + roundTripMs + playoutDelayMs + audioBufferMs = latencyMs
  //       estimate from a sound reaching this browser's encoder to the avatar's saying it here:
  //       one packet filled, the network both ways, the server's playout delay, the mean stay of
  //       sound in this browser's jitter buffer since the last report. No sound hardware.
  //   skewMs                               picture minus sound, by estimatedPlayoutTimestamp; > 0: picture ahead
  //   lossPercent                          of both incoming tracks over the last 10 s
  //   framesDecoded, framesDropped, freezes, freezeS, packetsLost, packetsReceived    since the session began
  push(report, server, nowMs) {
    const stats = [...report.values()];
    const inbound = (kind) => stats.find((s) => s.type === "inbound-rtp" && s.kind === kind);
    const audio = inbound("audio");
    const video = inbound("video");
    if (!audio || !video) return null;

    const now = { atMs: nowMs };
    for (const [name, read] of Object.entries(KEPT)) now[name] = read(audio, video) ?? 0;
    const last = this.#history.at(-1) ?? now;
    const oldest = this.#history[0] ?? now;
    this.#history.push(now);
    while (this.#history[0].atMs < nowMs - LOSS_WINDOW_MS) this.#history.shift();

    const roundTripMs = roundTrip(report, stats);
    const playoutDelayMs = server?.playout?.delay_ms ?? null;
    const audioBufferMs = ratio(now.bufferDelayS - last.bufferDelayS, now.bufferEmitted - last.bufferEmitted, 1000);
    const parts = [PACKET_MS, roundTripMs, playoutDelayMs, audioBufferMs];
    const lost = Math.max(0, now.lost - oldest.lost); // a late packet is uncounted again
    return {
      fps: ratio(now.framesDecoded - last.framesDecoded, nowMs - last.atMs, 1000),
      bitrateKbps: ratio(now.bytes - last.bytes, nowMs - last.atMs, 8),
      packetMs: PACKET_MS,
      roundTripMs,
      playoutDelayMs,
      audioBufferMs,
      latencyMs: parts.includes(null) ? null : parts.reduce((sum, part) => sum + part),
      skewMs: this.#skew(audio, video),
      lossPercent: ratio(lost, lost + now.received - oldest.received, 100),
      framesDecoded: video.framesDecoded,
      framesDropped: video.framesDropped,
      freezes: video.freezeCount ?? null,
      freezeS: video.totalFreezesDuration ?? null,
      packetsLost: now.lost,
      packetsReceived: now.received,
    };
  }

  #skew(audio, video) {
    const [sound, picture] = [audio.estimatedPlayoutTimestamp, video.estimatedPlayoutTimestamp];
    if (!sound || !picture) return null;
    this.#skews = [...this.#skews, picture - sound].slice(-SKEW_WINDOW);
    return [...this.#skews].sort((a, b) => a - b)[Math.floor(this.#skews.length / 2)];
  }
}

function octets(inbound) {
  return (inbound.bytesReceived ?? 0) + (inbound.headerBytesReceived ?? 0);
}

function ratio(part, whole, scale) {
  return whole > 0 ? (part / whole) * scale : null;
}

function roundTrip(report, stats) {
  const transport = stats.find((s) => s.type === "transport");
  const pair =
    report.get(transport?.selectedCandidatePairId) ??
    stats.find((s) => s.type === "candidate-pair" && s.nominated && s.state === "succeeded");
  const seconds = pair?.currentRoundTripTime ?? stats.find((s) => s.type === "remote-inbound-rtp")?.roundTripTime;
  return seconds === undefined ? null : seconds * 1000;
}
