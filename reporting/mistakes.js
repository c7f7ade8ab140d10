// The cells and heads of the confusion matrix choose which mistakes are listed; once more, or "all", lists them all.
{
  const buttons = document.querySelectorAll("button");
  const all = document.querySelector(".all");
  const items = document.querySelectorAll(".mistakes li");
  const status = document.querySelector(".chosen");
  const everything = status.textContent;

  const choose = (button) => {
    const wanted = Object.entries(button.dataset).filter(([key]) => key === "true" || key === "predicted");
    let visible = 0;
    for (const item of items) {
      item.hidden = !wanted.every(([key, value]) => item.dataset[key] === value);
      visible += !item.hidden;
    }
    for (const each of buttons) each.setAttribute("aria-pressed", each === button);
    status.textContent = button === all ? everything : `${button.getAttribute("aria-label")}, ${visible} of them shown.`;
  };

  for (const button of buttons) {
    button.disabled = false;
    button.addEventListener("click", () => choose(button.getAttribute("aria-pressed") === "true" ? all : button));
  }
  for (const hint of document.querySelectorAll(".script")) hint.hidden = false;
}
