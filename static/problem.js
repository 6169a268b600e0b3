// What the server says when it refuses: application/problem+json (RFC 9457).

export class Problem extends Error {
  constructor(status, title, detail, type, retryAfterS) {
    super(`${status} ${title}`);
    this.name = "Problem";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.type = type;
    this.retryAfterS = retryAfterS; // seconds, or null when the server named none
  }

  static async from(response) {
    let body = {};
    try {
      body = await response.json();
    } catch {
      // A proxy in between may answer in HTML: the status line is then all there is to tell.
    }
    return new Problem(
      response.status,
      body.title || response.statusText || `Error ${response.status}`,
      body.detail || "",
      body.type || "about:blank",
      secondsFrom(response.headers.get("Retry-After")),
    );
  }
}

// Retry-After is a number of seconds or an HTTP date (RFC 9110, 10.2.3).
function secondsFrom(retryAfter) {
  if (retryAfter === null) return null;
  const seconds = /^\d+$/.test(retryAfter.trim())
    ? Number(retryAfter)
    : (Date.parse(retryAfter) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}
