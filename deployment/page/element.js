/* Elements of the page, made in one call; text is never taken for HTML. */

/** An element with properties, such as { className: "bar" }, and what is in it: texts and elements. */
export function element(name, properties = {}, ...content) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...content);
  return made;
}
