"""Rolling Tierbus out to a class of tasks bit by bit: who is drawn, what is counted, when to widen and when to roll back."""
