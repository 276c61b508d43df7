// Prints the names of the operations that a page can run, for Python to read.
import { OPERATIONS } from "./operations.js";

console.log(Object.keys(OPERATIONS).sort().join("\n"));
