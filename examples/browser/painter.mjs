// Draws the arena into a canvas.
import { HEIGHT, WIDTH } from "./arena.mjs";

const SCALE = 10, HEAD = 112;
const COLOURS = { grazer: "#ecd68a", hunter: "#ff6248", grass: "#56b062", catch: "#ffffff",
  ground: "#12171d", grid: "#19212a", text: "#d8dee6", dim: "#9aa6b4" };

/** Between two ticks bodies are drawn on their way; `part` runs from 0, the tick before, to 1. */
export function paint(canvas, arena, part, lines) {
  const [width, height] = [WIDTH * SCALE, HEIGHT * SCALE + HEAD];
  if (canvas.width !== width) Object.assign(canvas, { width, height });
  const draw = canvas.getContext("2d");
  draw.setTransform(1, 0, 0, 1, 0, 0);
  draw.fillStyle = COLOURS.ground;
  draw.fillRect(0, 0, width, height);
  head(draw, width, lines);
  draw.translate(0, HEAD);
  draw.fillStyle = COLOURS.grid;
  for (let x = 8; x < WIDTH; x += 8) draw.fillRect(x * SCALE, 0, 1, HEIGHT * SCALE);
  for (let y = 8; y < HEIGHT; y += 8) draw.fillRect(0, y * SCALE, width, 1);
  if (!arena) return;
  draw.strokeStyle = COLOURS.grass;
  draw.lineWidth = 2;
  for (const { x, y } of arena.grass) {
    draw.beginPath();
    draw.moveTo(x * SCALE - 3, y * SCALE - 4);
    draw.lineTo(x * SCALE, y * SCALE + 3);
    draw.lineTo(x * SCALE + 3, y * SCALE - 4);
    draw.stroke();
  }
  for (const name of ["grazer", "hunter"]) {
    for (const body of arena.herds[name]) creature(draw, name, body, part, name === "hunter" && arena.perceives(body));
  }
  draw.strokeStyle = COLOURS.catch;
  draw.lineWidth = 2;
  for (const { x, y } of arena.catches) circle(draw, x * SCALE, y * SCALE, 6 + 8 * part);
}

function head(draw, width, [title, state]) {
  draw.fillStyle = "#0b0f13";
  draw.fillRect(0, 0, width, HEAD);
  draw.fillStyle = COLOURS.text;
  draw.font = "600 28px system-ui, sans-serif"; // large enough for a page that shows the picture at half its width
  draw.fillText(title, 12, 34);
  draw.fillStyle = COLOURS.dim;
  draw.font = "20px system-ui, sans-serif";
  draw.fillText(state, 12, 67, width - 24);
  let left = 12;
  for (const [name, label] of [["grass", "grass"], ["grazer", "grazer"], ["hunter", "hunter, ring: sees prey"], ["catch", "catch"]]) {
    draw.fillStyle = COLOURS[name];
    draw.fillRect(left, 84, 15, 15);
    draw.fillStyle = COLOURS.dim;
    draw.fillText(label, left + 24, 98);
    left += draw.measureText(label).width + 56;
  }
}

function circle(draw, x, y, radius) {
  draw.beginPath();
  draw.arc(x, y, radius, 0, 2 * Math.PI);
  draw.stroke();
}

function creature(draw, name, body, part, ring) {
  const before = body.trail.at(-1) ?? body;
  const x = (before.x + (body.x - before.x) * part) * SCALE, y = (before.y + (body.y - before.y) * part) * SCALE;
  draw.strokeStyle = `${COLOURS[name]}55`;
  draw.lineWidth = 2;
  draw.beginPath();
  for (const past of body.trail) draw.lineTo(past.x * SCALE, past.y * SCALE);
  draw.lineTo(x, y);
  draw.stroke();
  const size = name === "hunter" ? 10 : 8;
  draw.save();
  draw.translate(x, y);
  draw.rotate(Math.atan2(body.vy, body.vx));
  draw.fillStyle = COLOURS[name];
  draw.strokeStyle = "#0b0f13";
  draw.lineWidth = 1;
  draw.beginPath();
  draw.moveTo(size, 0);
  draw.lineTo(-size * 0.7, size * 0.6);
  draw.lineTo(-size * 0.35, 0);
  draw.lineTo(-size * 0.7, -size * 0.6);
  draw.closePath();
  draw.fill();
  draw.stroke();
  draw.restore();
  draw.strokeStyle = "#ff624899";
  draw.lineWidth = 2;
  if (ring) circle(draw, x, y, 13);
}
