"""An ARPA file of three words, as other toolkits write them."""

FOX = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-99\t<s>\t-0.30103
-0.8\t</s>
-1.1\t<unk>
-0.7\tred\t-0.2
-0.9\tfox\t-0.15
-1.2\tran\t-0.1

\\2-grams:
-0.3\t<s> red
-0.4\tred fox
-0.5\tfox ran
-0.2\tran </s>

\\end\\
"""
