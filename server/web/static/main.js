// Improves the pages, which work without it: searching without leaving the page, endless results,
// a region to search with. Each module has one subject; nothing is loaded from anywhere else.
import { watchFiles } from "./asking.js";
import { restoreOnLoad, watchHistory } from "./answers.js";
import { watchControls } from "./controls.js";
import { watchCropping } from "./crop.js";
import { watchMore } from "./more.js";

watchHistory();
watchFiles();
watchControls();
watchCropping();
watchMore();
restoreOnLoad();
