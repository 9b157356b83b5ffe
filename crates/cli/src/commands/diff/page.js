"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const form = at("search"), box = at("q"), found = at("found"), tree = at("tree");
  const items = [...tree.querySelectorAll(".item")];
  const lists = [...tree.querySelectorAll("details")];
  const first = lists.map((one) => one.open);
  const names = items.map((one) => (one.querySelector(".n") || one).textContent.toLowerCase());
  const show = () => {
    const words = box.value.trim().toLowerCase();
    if (!words) {
      items.forEach((one) => { one.hidden = false; });
      lists.forEach((one, index) => { one.open = first[index]; });
      found.textContent = "";
      return;
    }
    items.forEach((one) => { one.hidden = true; });
    lists.forEach((one) => { one.open = false; });
    let count = 0;
    items.forEach((one, index) => {
      if (!names[index].includes(words)) return;
      count += 1;
      one.querySelectorAll(".item").forEach((inner) => { inner.hidden = false; });
      for (let up = one; up !== tree; up = up.parentElement) {
        if (up.hidden) up.hidden = false;
        if (up.tagName === "DETAILS") up.open = true;
      }
    });
    found.textContent = count === 1 ? "1 is shown" : count + " are shown";
  };
  const linked = () => {
    if (!location.hash.startsWith("#q=")) return;
    try { box.value = decodeURIComponent(location.hash.slice(3)); } catch { return; }
    show();
  };
  let timer;
  box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(show, 150); });
  form.addEventListener("submit", (event) => { event.preventDefault(); show(); });
  at("all").addEventListener("click", () => lists.forEach((one) => { one.open = true; }));
  at("none").addEventListener("click", () => lists.forEach((one) => { one.open = false; }));
  addEventListener("hashchange", linked);
  form.hidden = false;
  linked();
})();
