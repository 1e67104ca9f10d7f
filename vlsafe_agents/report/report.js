// A cursor over each episode's chart follows its video; a click on the chart moves the video.
for (const drive of document.querySelectorAll(".drive")) {
  const video = drive.querySelector("video");
  const plot = drive.querySelector(".plot");
  if (!video || !plot) continue;
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  cursor.setAttribute("aria-hidden", "true");
  plot.append(cursor);
  const left = 0.17, right = 0.97; // the plot's share of the chart's width
  const follow = () => {
    const share = video.duration ? Math.min(1, video.currentTime / video.duration) : 0;
    cursor.style.left = 100 * (left + (right - left) * share) + "%";
    if (!video.paused) requestAnimationFrame(follow);
  };
  for (const event of ["play", "seeked", "loadedmetadata"]) video.addEventListener(event, follow);
  plot.addEventListener("click", (event) => {
    const box = plot.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width - left) / (right - left);
    if (video.duration) video.currentTime = Math.max(0, Math.min(1, share)) * video.duration;
  });
  follow();
}

// Videos in view play by themselves, unless the reader wants no motion.
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) target.play().catch(() => {});
      else target.pause();
    }
  }, { threshold: 0.6 });
  for (const video of document.querySelectorAll("video")) watcher.observe(video);
}
