"""What is in files of products: lengths, categories, duplicates, languages, pictures, and what is missing."""
