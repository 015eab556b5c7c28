"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector) => [...document.querySelectorAll(selector)];
  const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* not kept */ } };
  root.classList.add("js");

  // Light or dark: as the system is, until somebody chooses.
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  if (kept("docs-theme")) root.dataset.theme = kept("docs-theme");
  const theme = document.querySelector(".theme");
  const label = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep("docs-theme", root.dataset.theme);
    label();
  });
  label();

  // One language for all samples.
  const choose = (language) => {
    for (const code of all(".code[data-language]")) code.classList.toggle("chosen", code.dataset.language === language);
    for (const button of all(".languages button")) button.setAttribute("aria-pressed", String(button.value === language));
    keep("docs-language", language);
  };
  const languages = new Set(all(".languages button").map((button) => button.value));
  choose(languages.has(kept("docs-language")) ? kept("docs-language") : "curl");
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (button?.closest(".languages")) choose(button.value);
    if (button?.classList.contains("copy")) {
      await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    }
  });

  // Every word of the search has to be in the operation or type.
  const search = document.querySelector(".search");
  const found = document.querySelector(".found");
  const items = all("[data-item]").map((item) => ({ item, text: item.textContent.toLowerCase() }));
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { item, text } of items) {
      const fits = words.every((word) => text.includes(word));
      item.hidden = !fits;
      count += fits && item.classList.contains("operation") ? 1 : 0;
      const link = document.querySelector(`.side a[href="#${item.id}"]`);
      if (link) link.parentElement.hidden = !fits;
    }
    for (const group of all(".group, .side section")) group.hidden = !group.querySelector("[data-item]:not([hidden]), li:not([hidden])");
    root.classList.toggle("searching", words.length > 0);
    found.textContent = words.length ? `${count} found` : "";
  };
  search.addEventListener("input", show);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
    if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      show();
    }
  });

  // A link to an operation opens it.
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.tagName === "DETAILS") {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
})();
