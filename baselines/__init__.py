"""Other ways to predict a category, to compare Rubrika with; fitting and predicting are apart, each to be timed."""
