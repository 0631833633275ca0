// The page is whole without this: it adds filters, a switch between heads, and opens what is
// folded for printing.
(() => {
  "use strict";
  const form = document.querySelector(".filter");
  if (form) {
    const samples = Array.from(document.querySelectorAll(".sample"));
    const texts = samples.map((sample) => sample.textContent.toLowerCase());
    const count = document.querySelector("#shown");
    const update = () => {
      const chosen = ["model", "domain", "verdict", "kind"].map((key) => [key, form.elements[key].value]);
      const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      samples.forEach((sample, index) => {
        const fits = chosen.every(([key, value]) => !value || sample.dataset[key] === value)
          && words.every((word) => texts[index].includes(word));
        sample.hidden = !fits;
        shown += fits ? 1 : 0;
      });
      count.textContent = `${shown} of ${samples.length} replies`;
    };
    form.hidden = false;
    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    update();
  }
  for (const map of document.querySelectorAll(".map")) {
    const heads = Array.from(map.querySelectorAll(".head"));
    const list = map.querySelector(".switch select");
    if (!list || heads.length < 2) continue;
    const show = () => heads.forEach((head) => { head.hidden = head.id !== list.value; });
    list.closest(".switch").hidden = false;
    list.addEventListener("change", show);
    show();
  }
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));
})();
