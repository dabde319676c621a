"""What a call costs: pure arithmetic on tokens and published prices, in integer nano-dollars."""
