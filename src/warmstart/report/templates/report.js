// Unpacks the chart library and draws every chart; colours of text and grid come from the style sheet.
(function () {
  const places = [];
  for (const text of document.querySelectorAll(".completion pre")) {
    if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
  }

  async function unpack() {
    const packed = Uint8Array.from(atob(document.getElementById("chart-library").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function draw() {
    for (const data of document.querySelectorAll("script.chart-data")) {
      const place = document.getElementById(data.dataset.chart);
      const figure = JSON.parse(data.textContent);
      // Legends above the parts of a tall chart wrap where it is narrow.
      if (figure.layout.legend2 && place.clientWidth < 600) figure.layout.height *= 1.35;
      Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
      places.push(place);
    }
    document.documentElement.dataset.charts = "drawn";
  }

  // Print lays the page out anew without a resize event.
  function widths(width, wide) {
    for (const place of places) {
      const is = place.closest("figure").classList.contains("whole");
      Plotly.relayout(place, width === null ? { width: null, autosize: true } : { width: is ? wide : width, autosize: false });
    }
  }
  window.addEventListener("beforeprint", function () { widths(330, 680); });
  window.addEventListener("afterprint", function () { widths(null); });

  unpack().then(draw).catch(function () {
    document.getElementById("no-charts").hidden = false;
  });
})();
