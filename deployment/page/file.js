/* A browser loads no modules from files: a page that was opened by a double click says what to do instead. */

if (location.protocol === "file:") {
  const lines = [
    "This page needs a web server.",
    "In the project: make demo",
    "Or in this folder: python -m http.server",
    "and then open http://localhost:8000",
  ];
  const paragraphs = lines.map((textContent) => Object.assign(document.createElement("p"), { textContent }));
  document.querySelector("main").replaceWith(...paragraphs);
  document.querySelector("label").remove();
}
