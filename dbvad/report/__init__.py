"""`dbvad report`: one HTML page that shows a run, its data and its videos; opens offline, in any browser."""
