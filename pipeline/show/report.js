// Draws the figures that stand in the page as data, in the colours of the reader's theme.
"use strict";
(function () {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");
  const darkOf = read("dark");
  const theme = window.matchMedia("(prefers-color-scheme: dark)");

  function recolour(value) {
    if (typeof value === "string") return theme.matches && value in darkOf ? darkOf[value] : value;
    if (Array.isArray(value)) return value.map(recolour);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, recolour(inner)]));
  }

  function draw() {
    document.querySelectorAll(".plot").forEach((place, index) => {
      const figure = recolour(figures[index]);
      Plotly.react(place, figure.data, figure.layout, { displayModeBar: false, responsive: true });
    });
  }

  theme.addEventListener("change", draw);
  draw();
})();
