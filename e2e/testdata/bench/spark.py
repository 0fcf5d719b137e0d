"""Counts words with PySpark: spark.py INPUT OUTPUT PARTS."""
import operator
import sys

from pyspark import SparkConf, SparkContext

source, target, parts = sys.argv[1], sys.argv[2], int(sys.argv[3])
conf = SparkConf().setMaster("local[2]").set("spark.ui.enabled", "false").set("spark.driver.memory", "2g")
spark = SparkContext(conf=conf)
spark.setLogLevel("ERROR")
words = spark.textFile(source).flatMap(lambda line: [(word, 1) for word in line.split()])
words.reduceByKey(operator.add, parts).map(lambda pair: "%s\t%d" % pair).saveAsTextFile(target)
