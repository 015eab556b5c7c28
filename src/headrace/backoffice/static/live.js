// Rows of events as the server sends them: a row that is shown already is replaced in place. While
// paused, rows wait; at most as many as are shown.
(() => {
  "use strict";
  const ROWS_MAX = 200;
  const RETRY_MS = 5000;
  // Statuses of a response that trying again does not change.
  const FINAL = {
    400: "The filter is invalid. Correct it to see events.",
    401: "You are signed out. Reload the page.",
    403: "You no longer have access to this project. Reload the page.",
    404: "You no longer have access to this project. Reload the page.",
  };
  const box = document.querySelector("[data-live]");
  const state = document.querySelector("[data-live-state]");
  const pause = document.querySelector("[data-live-pause]");
  if (!box || !window.EventSource) return;
  const body = box.querySelector("tbody");
  let paused = false;
  let waiting = [];
  let missed = 0;
  let arrived = 0;

  const say = () => {
    const parts = [`Connected · ${arrived} new since this page was opened`];
    if (paused) parts.push(`paused, ${waiting.length} waiting`);
    if (missed) parts.push(`${missed} skipped because they arrived too fast`);
    state.textContent = parts.join(" · ");
  };
  const shown = (id) => body.querySelector(`tr[data-event="${CSS.escape(id)}"]`);
  const rowOf = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    window.headrace?.improve(template.content);
    return template.content.querySelector("tr");
  };
  const put = (row) => {
    const old = shown(row.dataset.event);
    if (old) {
      old.replaceWith(row);
      return;
    }
    body.prepend(row);
    while (body.rows.length > ROWS_MAX) body.deleteRow(-1);
    arrived += 1;
  };
  const take = (html) => {
    const row = rowOf(html);
    if (!paused || shown(row.dataset.event)) {
      put(row);
      return;
    }
    const known = waiting.findIndex((each) => each.dataset.event === row.dataset.event);
    if (known >= 0) waiting[known] = row;
    else if (waiting.push(row) > ROWS_MAX) {
      waiting.shift();
      missed += 1;
    }
  };
  // The browser does not tell why a stream was rejected: ask for its status.
  const explain = async () => {
    let status = 0;
    try {
      const asking = new AbortController();
      const answer = await fetch(box.dataset.live, { signal: asking.signal, redirect: "manual" });
      // Who is signed out is sent to the page to sign in.
      status = answer.type === "opaqueredirect" ? 401 : answer.status;
      asking.abort();
    } catch {
      // The server cannot be reached.
    }
    if (FINAL[status]) {
      state.textContent = FINAL[status];
      return;
    }
    const busy = status === 429 || status === 503;
    state.textContent = `${busy ? "Too many live pages are open" : "Connection lost"}; reconnecting…`;
    setTimeout(connect, RETRY_MS);
  };
  const connect = () => {
    const source = new EventSource(box.dataset.live);
    source.addEventListener("row", (message) => {
      take(message.data);
      say();
    });
    source.addEventListener("missed", (message) => {
      missed += Number(message.data);
      say();
    });
    source.addEventListener("end", (message) => {
      if (message.data !== "access_ended") return;
      source.close();
      state.textContent = "You are signed out or no longer have access to this project. Reload the page.";
    });
    source.addEventListener("open", say);
    source.addEventListener("error", () => {
      // Browsers connect again when a connection is lost, but not after a rejection.
      if (source.readyState === EventSource.CLOSED) explain();
      else state.textContent = "Connection lost; reconnecting…";
    });
  };
  connect();
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    if (!paused) {
      waiting.forEach(put);
      waiting = [];
    }
    say();
  });
})();
