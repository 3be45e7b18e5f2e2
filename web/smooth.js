// "Smooth to 60 fps (Midframe)" in the menu of a node that gives a video: puts Interpolate Video and Save Video behind it.
import { app } from "../../scripts/app.js";

const FPS = 60;
const GAP = 40;

function addBehind(node, kind) {
  const added = window.LiteGraph.createNode(kind);
  node.graph.add(added);
  added.pos = [node.pos[0] + node.size[0] + GAP, node.pos[1]];
  return added;
}

const inputOf = (node, name) => node.inputs.findIndex((input) => input.name === name);

function smooth(source, output) {
  const interpolate = addBehind(source, "MidframeVideo");
  const save = addBehind(interpolate, "SaveVideo");
  interpolate.widgets.find((widget) => widget.name === "target_fps").value = FPS;
  source.connect(output, interpolate, inputOf(interpolate, "video"));
  interpolate.connect(0, save, inputOf(save, "video"));
}

app.registerExtension({
  name: "Midframe.Smooth",
  getNodeMenuItems(node) {
    const output = (node.outputs ?? []).findIndex((slot) => slot.type === "VIDEO");
    if (output < 0) return [];
    return [{ content: `Smooth to ${FPS} fps (Midframe)`, callback: () => smooth(node, output) }];
  },
});
