"use strict";
// The charts' numbers are data beside this script; drawing says on the root element how many are done, or what failed.
(() => {
  const root = document.documentElement;
  window.addEventListener("error", (event) => { root.dataset.error = event.message; });
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const options = { displayModeBar: false, responsive: true };
  const places = Object.keys(charts).map((id) => document.getElementById(`chart-${id}`));
  Promise.all(places.map((place) => {
    const { data, layout } = charts[place.id.slice("chart-".length)];
    return Plotly.newPlot(place, data, layout, options);
  })).then(
    () => { root.dataset.drawn = String(places.length); },
    (error) => { root.dataset.error = String(error); },
  );

  // Paper is narrower than a screen and has nothing to click: fit the charts and open every table.
  const PAPER_PX = 700;
  const details = [...document.querySelectorAll("details")];
  let open = [];
  const fit = (width) => places.forEach((place) => {
    const own = place.closest(".wide") ? width : width && width * 0.5;
    if (own) { Plotly.relayout(place, { width: own, autosize: false }); }
    else { Plotly.relayout(place, { width: null, autosize: true }); }
  });
  window.addEventListener("beforeprint", () => {
    open = details.filter((one) => one.open);
    details.forEach((one) => { one.open = true; });
    fit(PAPER_PX);
  });
  window.addEventListener("afterprint", () => {
    details.forEach((one) => { one.open = open.includes(one); });
    fit(null);
  });
})();
