// Small comforts. Every page works without them, except for what is live.
"use strict";

(() => {
  // Times in the viewer's zone, the server's UTC on hover.
  const format = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric",
    hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
  });
  const localTime = (element) => {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return;
    element.title = `${element.dateTime.replace("T", " ").replace("Z", "")} UTC`;
    element.textContent = format.format(at);
  };
  const localTimes = (root) => root.querySelectorAll("time[datetime]").forEach(localTime);

  // Copy buttons are hidden until there is a script that can copy.
  const offerCopying = (root) => {
    if (!navigator.clipboard) return;
    root.querySelectorAll("button[data-copy]").forEach((button) => { button.hidden = false; });
  };
  const copy = async (button) => {
    const from = document.getElementById(button.dataset.copy);
    if (!from) return;
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(from.value ?? from.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy";
    }
    setTimeout(() => { button.textContent = before; }, 2000);
  };

  const improve = (root) => { localTimes(root); offerCopying(root); };
  // For scripts of single pages that add what the server sends later.
  window.headrace = { improve };
  improve(document);
  // On a narrow screen the navigation is a strip: the page one is on comes into view.
  document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy]");
    if (button) copy(button);
    document.querySelectorAll("details.menu[open]").forEach((details) => {
      if (!details.contains(event.target)) details.open = false;
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll("details.menu[open]").forEach((details) => {
      details.open = false;
      details.querySelector("summary").focus();
    });
  });
  // Twice on the same button is once.
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    if (event.target.method === "post") event.target.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => {
    document.querySelectorAll("form[data-sent]").forEach((form) => { delete form.dataset.sent; });
  });
  // A select in a filter form applies at once.
  document.querySelectorAll("form[data-auto] select").forEach((select) => {
    select.addEventListener("change", () => select.form.requestSubmit());
  });
})();
