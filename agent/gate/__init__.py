"""The reject gate: parts from trigger to close, and everything the ejector process knows of belt, output, people and PLC."""
