"use strict";
// Draws every chart of the page; colours of text and grid come from the style sheet.
(function () {
  const charts = [];
  for (const data of document.querySelectorAll("script.chart-data")) {
    const place = document.getElementById(data.dataset.chart);
    const figure = JSON.parse(data.textContent);
    Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    charts.push(place);
  }
  // What scrolls must be reachable by keyboard; what does not is no stop on the way.
  for (const text of document.querySelectorAll(".completion pre")) {
    if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
  }
  // Print lays the page out anew without a resize event.
  window.addEventListener("beforeprint", function () {
    for (const chart of charts) Plotly.relayout(chart, { width: 330, autosize: false });
  });
  window.addEventListener("afterprint", function () {
    for (const chart of charts) Plotly.relayout(chart, { width: null, autosize: true });
  });
})();
