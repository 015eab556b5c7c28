// Rows of events as the server sends them; paused rows wait, at most as many as are shown.
(() => {
  "use strict";
  const ROWS_MAX = 200;
  const RETRY_MS = 5000;
  const box = document.querySelector("[data-live]");
  const state = document.querySelector("[data-live-state]");
  const pause = document.querySelector("[data-live-pause]");
  if (!box || !window.EventSource) return;
  const body = box.querySelector("tbody");
  let paused = false;
  let waiting = [];
  let missed = 0;
  let shown = 0;

  const say = () => {
    const parts = [`${shown} shown since this page was opened`];
    if (paused) parts.push(`paused, ${waiting.length} waiting`);
    if (missed) parts.push(`${missed} skipped because they arrived too fast`);
    state.textContent = parts.join(" · ");
  };
  const add = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    window.headrace?.improve(template.content);
    body.prepend(template.content);
    while (body.rows.length > ROWS_MAX) body.deleteRow(-1);
    shown += 1;
  };
  const connect = () => {
    const source = new EventSource(box.dataset.live);
    source.addEventListener("row", (message) => {
      if (!paused) add(message.data);
      else if (waiting.push(message.data) > ROWS_MAX) {
        waiting.shift();
        missed += 1;
      }
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
    source.addEventListener("open", () => {
      if (!shown) state.textContent = "Connected. Waiting for the next event…";
    });
    source.addEventListener("error", () => {
      // Browsers connect again when a connection is lost, but not after a rejection.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
      state.textContent = "Connection lost; reconnecting…";
    });
  };
  connect();
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    if (!paused) {
      waiting.forEach(add);
      waiting = [];
    }
    say();
  });
})();
