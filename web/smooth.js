// "Smooth this video (Midframe)" in the menu of a node that gives a video: asks for a frame rate, and puts Interpolate
// Video and Save Video behind it.
import { app } from "../../scripts/app.js";

const GAP = 40;

function addBehind(node, kind) {
  const added = window.LiteGraph.createNode(kind);
  node.graph.add(added);
  added.pos = [node.pos[0] + node.size[0] + GAP, node.pos[1]];
  return added;
}

const inputOf = (node, name) => node.inputs.findIndex((input) => input.name === name);

async function smooth(source, output) {
  const answer = await app.extensionManager.dialog.prompt({
    title: "Smooth this video",
    message: "Frames a second:",
    defaultValue: "60",
  });
  const fps = Number(answer);
  if (!(fps > 0)) return;
  const interpolate = addBehind(source, "MidframeVideo");
  const save = addBehind(interpolate, "SaveVideo");
  interpolate.widgets.find((widget) => widget.name === "target_fps").value = fps;
  source.connect(output, interpolate, inputOf(interpolate, "video"));
  interpolate.connect(0, save, inputOf(save, "video"));
}

app.registerExtension({
  name: "Midframe.Smooth",
  getNodeMenuItems(node) {
    const output = (node.outputs ?? []).findIndex((slot) => slot.type === "VIDEO");
    if (output < 0) return [];
    return [{ content: "Smooth this video (Midframe)", callback: () => void smooth(node, output) }];
  },
});
