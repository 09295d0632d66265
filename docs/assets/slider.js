// In <div class="slider"> a range shows one picture of the list at a time. Without this script all are in a row.
(() => {
  const addRange = (place) => {
    const steps = [...place.querySelectorAll("ol > li")];
    const counts = steps.map((step) => step.querySelector("figcaption b").textContent);
    const label = document.createElement("label");
    const range = document.createElement("input");
    const shown = document.createElement("output");
    range.type = "range";
    range.min = 0;
    range.max = steps.length - 1;
    range.value = 0;
    const show = () => {
      const at = Number(range.value);
      steps.forEach((step, number) => (step.hidden = number !== at));
      shown.textContent = counts[at];
      range.setAttribute("aria-valuetext", steps[at].textContent.trim());
    };
    range.addEventListener("input", show);
    label.append(`${place.dataset.label}: `, shown, range);
    place.append(label);
    place.classList.add("live");
    show();
  };

  const prepare = () => {
    for (const place of document.querySelectorAll("div.slider:not(.live)")) addRange(place);
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", prepare);
  else prepare();
})();
