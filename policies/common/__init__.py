"""What every pack uses: plain resources, rules, the controls they stand for."""
