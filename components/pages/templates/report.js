// The line between the left and the right view of a picture follows its slider.
for (const slider of document.querySelectorAll(".stage input")) {
  const move = () => slider.parentElement.style.setProperty("--at", slider.value + "%");
  slider.addEventListener("input", move);
  // A browser may restore the value from before the page was loaded anew.
  move();
}
